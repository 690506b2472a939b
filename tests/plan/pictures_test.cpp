#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "parallel/schedule_generators.h"
#include "plan/bar_chart.h"
#include "plan/perfetto_trace.h"

namespace baekji {
namespace {

TEST(PerfettoTrace, HoldsEveryPassAndTransferOnce) {
  const Schedule schedule = make_schedule("interleaved", {.ranks = 4, .virtual_stages = 2, .micro_batches = 8});
  PassCosts costs = unit_costs(8);
  costs.transfer = 0.25;
  const Simulation simulation = simulate(schedule, costs);
  const std::string text = perfetto_trace(schedule, simulation, 1e6);
  const nlohmann::json trace = nlohmann::json::parse(text);
  int passes = 0, transfers = 0;
  double end = 0, busy = 0;
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    EXPECT_GE(event["dur"].get<double>(), 0);
    end = std::max(end, event["ts"].get<double>() + event["dur"].get<double>());
    if (event["cat"] == "transfer") {
      ++transfers;
      EXPECT_EQ(event["tid"], 1);
      EXPECT_GE(event["dur"].get<double>(), 0.25e6 - 1);
    } else {
      ++passes;
      busy += event["dur"].get<double>();
    }
  }
  EXPECT_EQ(passes, 2 * 8 * 8);
  EXPECT_EQ(transfers, 2 * 7 * 8);
  EXPECT_NEAR(end, simulation.length * 1e6, 1);
  double expected = 0;
  for (const double rank : simulation.busy) expected += rank;
  EXPECT_NEAR(busy, expected * 1e6, 1);
  EXPECT_EQ(text, perfetto_trace(schedule, simulation, 1e6));
  fmt::print("{} passes and {} transfers in {} bytes\n", passes, transfers, text.size());
}

TEST(BarChart, DrawsPartsAtScale) {
  const std::vector<Bar> bars{{"a & b", {{"weights", 10}, {"activations", 30}}},
                              {"second", {{"weights", 20}, {"none", 0}}}};
  const std::string svg = bar_chart_svg(bars, {.title = "memory", .unit = "GiB", .limit = 80, .limit_label = "room"});
  EXPECT_NE(svg.find("a &amp; b"), std::string::npos);
  EXPECT_EQ(svg.find("none"), std::string::npos) << "what is nothing has no entry";
  // 640 pixels are the limit's 80 GiB.
  EXPECT_NE(svg.find("width='80.00'"), std::string::npos);
  EXPECT_NE(svg.find("width='240.00'"), std::string::npos);
  EXPECT_NE(svg.find("width='160.00'"), std::string::npos);
  EXPECT_EQ(svg, bar_chart_svg(bars, {.title = "memory", .unit = "GiB", .limit = 80, .limit_label = "room"}));
  EXPECT_THROW(bar_chart_svg({}, {}), Error);
  const std::vector<Bar> wrong{{"x", {{"y", -1}}}};
  EXPECT_THROW(bar_chart_svg(wrong, {}), Error);
}

}  // namespace
}  // namespace baekji
