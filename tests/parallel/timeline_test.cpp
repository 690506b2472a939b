// Timelines as a real XML parser sees them: every pass a box in its row, numbers in their boxes, nothing over the edge.

#include "parallel/timeline.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "parallel/schedule_generators.h"
#include "tests/python.h"

namespace baekji {
namespace {

std::string draw(const std::string& name, const ScheduleShape& shape, const TimelineOptions& options = {}) {
  const Schedule schedule = make_schedule(name, shape);
  TimelineOptions titled = options;
  if (titled.title.empty()) titled.title = name;
  return timeline_svg(schedule, simulate(schedule, unit_costs(schedule.stages())), titled);
}

const std::string& python() {
  static const std::string kPython = find_python("xml.etree.ElementTree");
  return kPython;
}

// What tests/parallel/timeline_reader.py says of it.
std::string reading(const std::string& svg) {
  const PythonResult result = run_python(python(), "tests/parallel/timeline_reader.py", "", svg);
  EXPECT_EQ(result.status, 0) << result.output;
  return result.output;
}

class TimelineTest : public testing::Test {
 protected:
  void SetUp() override {
    if (python().empty()) GTEST_SKIP() << "python3 is not installed";
  }
};

TEST_F(TimelineTest, AParserFindsEveryPassInItsRow) {
  struct Case {
    std::string name;
    ScheduleShape shape;
    std::string reading;
  };
  const std::vector<Case> cases{
      {"1f1b", {1, 1, 1}, "1f1b: 1 pipeline rank, 1 micro-batch, bubble 0.0%, length 3 | 2 boxes, 2 numbers, 0 arrows"},
      {"1f1b",
       {2, 1, 4},
       "1f1b: 2 pipeline ranks, 4 micro-batches, bubble 20.0%, length 15 | 16 boxes, 16 numbers, 8 arrows"},
      {"zb-h1",
       {4, 1, 8},
       "zb-h1: 4 pipeline ranks, 8 micro-batches, bubble 11.1%, length 27 | 96 boxes, 96 numbers, 48 arrows"},
      {"1f1b",
       {8, 1, 32},
       "1f1b: 8 pipeline ranks, 32 micro-batches, bubble 17.9%, length 117 | 512 boxes, 512 numbers, 0 arrows"},
      {"zb-h1",
       {8, 1, 32},
       "zb-h1: 8 pipeline ranks, 32 micro-batches, bubble 6.8%, length 103 | 768 boxes, 768 numbers, 0 arrows"},
      // The first stage of a rank gets its input from the last rank: arrows would cross rows.
      {"interleaved",
       {4, 2, 8},
       "interleaved: 4 pipeline ranks x 2 virtual stages, 8 micro-batches, bubble 15.8%, length 57 | 128 boxes, 128 "
       "numbers, 0 arrows"},
      // Forward passes are too narrow for numbers here, backward passes are not.
      {"interleaved",
       {16, 4, 64},
       "interleaved: 16 pipeline ranks x 4 virtual stages, 64 micro-batches, bubble 5.5%, length 813 | 8192 boxes, "
       "4096 numbers, 0 arrows"},
  };
  for (const Case& c : cases) {
    const std::string svg = draw(c.name, c.shape);
    EXPECT_EQ(reading(svg), c.reading);
    EXPECT_EQ(svg, draw(c.name, c.shape)) << "the same values give the same bytes";
    std::printf("%6zu bytes: %s\n", svg.size(), c.reading.c_str());
  }
}

TEST_F(TimelineTest, UnevenPassesAndSlowTransfersStayInTheirRows) {
  const Schedule schedule = make_schedule("1f1b", {.ranks = 4, .micro_batches = 6});
  const PassCosts costs{.forward = {1.3, 1, 1, 1.7},
                        .backward_input = {1.1, 1, 1, 1.3},
                        .backward_weight = {1, 0.9, 0.9, 1.2},
                        .transfer = 0.37};
  EXPECT_THAT(reading(timeline_svg(schedule, simulate(schedule, costs), {.title = "1f1b", .time_unit = "ms"})),
              testing::AllOf(testing::HasSubstr(" ms | 48 boxes"), testing::HasSubstr("36 arrows")));
}

TEST_F(TimelineTest, AnyWidthAndAnyTitle) {
  int checked = 0;
  for (const double width : {1.0, 300.0, 900.0, 2500.0}) {
    const std::string svg =
        draw("zb-h1", {.ranks = 3, .micro_batches = 9}, {.title = "a<b> & 'c'\x01 \"d\"", .width = width});
    EXPECT_THAT(reading(svg), testing::StartsWith("a<b> & 'c'  \"d\": 3 pipeline ranks, 9 micro-batches, ")) << width;
    ++checked;
  }
  std::printf("%d widths, with a title that needs escapes\n", checked);
}

// A schedule by hand that mixes everything: the legend takes a second line.
TEST_F(TimelineTest, ALongLegendStaysInThePicture) {
  using enum ActionKind;
  Schedule schedule{.actions = {{}}, .micro_batches = 2, .virtual_stages = 12};
  for (std::int64_t v = 0; v < 12; ++v)
    schedule.actions[0].insert(schedule.actions[0].end(), {{kForward, 0, v}, {kForward, 1, v}});
  for (std::int64_t v = 11; v >= 0; --v) {
    schedule.actions[0].insert(schedule.actions[0].end(),
                               {{kBackward, 0, v}, {kBackwardInput, 1, v}, {kBackwardWeight, 1, v}});
  }
  validate(schedule);
  EXPECT_THAT(reading(timeline_svg(schedule, simulate(schedule, unit_costs(12)), {.width = 700})),
              testing::HasSubstr("| 60 boxes"));
}

TEST(Timeline, ShowsPeaksAndKindsThatAreThere) {
  const std::string svg = draw("1f1b", {.ranks = 3, .micro_batches = 6});
  for (const char* part :
       {">rank 2</text>", ">3</text>", ">peak live</text>", "forward (F)", "backward (B)", "transfer"}) {
    EXPECT_THAT(svg, testing::HasSubstr(part));
  }
  EXPECT_THAT(svg, testing::Not(testing::HasSubstr("weight gradient (W)")));
  EXPECT_THAT(draw("zb-h1", {.ranks = 3, .micro_batches = 6}), testing::HasSubstr("weight gradient (W)"));
  EXPECT_THAT(draw("interleaved", {2, 3, 4}), testing::HasSubstr("virtual stages 0 to 2"));
}

TEST(Timeline, StepsOfNoLengthAreDrawn) {
  const Schedule schedule = make_schedule("1f1b", {.ranks = 2, .micro_batches = 2});
  const std::vector<double> nothing(2, 0.0);
  const std::string svg = timeline_svg(
      schedule, simulate(schedule, {.forward = nothing, .backward_input = nothing, .backward_weight = nothing}), {});
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(Timeline, WhatCannotBeDrawnIsRefused) {
  const Schedule schedule = make_schedule("1f1b", {.ranks = 2, .micro_batches = 2});
  const Simulation simulation = simulate(schedule, unit_costs(2));
  const auto refusal = [](const Schedule& s, const Simulation& played, const TimelineOptions& options) -> std::string {
    try {
      timeline_svg(s, played, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "drawn";
  };
  EXPECT_EQ(refusal(schedule, simulation, {}), "drawn");
  EXPECT_THAT(refusal(make_schedule("1f1b", {.ranks = 3, .micro_batches = 2}), simulation, {}),
              testing::HasSubstr("not of this schedule"));
  EXPECT_THAT(refusal(make_schedule("1f1b", {.ranks = 2, .micro_batches = 3}), simulation, {}),
              testing::HasSubstr("not of this schedule"));
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    PassCosts costs = unit_costs(2);
    costs.forward[1] = bad;
    EXPECT_THAT(refusal(schedule, simulate(schedule, costs), {}), testing::HasSubstr("finite")) << bad;
    EXPECT_THAT(refusal(schedule, simulation, {.width = bad}), testing::HasSubstr("finite width")) << bad;
  }
}

}  // namespace
}  // namespace baekji
