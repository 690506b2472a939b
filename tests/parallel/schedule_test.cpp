#include "parallel/schedule.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "parallel/mesh.h"
#include "parallel/numerics.h"
#include "parallel/optimizer_config.h"
#include "parallel/schedule_checks.h"
#include "parallel/schedule_generators.h"

namespace baekji {
namespace {

std::string text_of(const Schedule& schedule, std::int64_t rank) {
  std::string text;
  for (const Action& action : schedule.actions[static_cast<std::size_t>(rank)]) text += action.describe() + " ";
  return text;
}

TEST(Schedule, OneForwardOneBackwardIsGradientAccumulationOnOneStage) {
  const Schedule schedule = make_schedule("1f1b", {.micro_batches = 3});
  EXPECT_EQ(text_of(schedule, 0), "F0 B0 F1 B1 F2 B2 ");
  EXPECT_EQ(schedule.peak_live(0, 0), 1);
}

TEST(Schedule, TransfersStandBesideTheirPasses) {
  const Schedule schedule = make_schedule("1f1b", {.ranks = 2, .micro_batches = 2});
  EXPECT_EQ(text_of(schedule, 0), "F0 SF0 F1 SF1 RB0 B0 RB1 B1 ");
  EXPECT_EQ(text_of(schedule, 1), "RF0 F0 B0 SB0 RF1 F1 B1 SB1 ");
  EXPECT_EQ(text_of(make_schedule("zb-h1", {.ranks = 2, .micro_batches = 2}), 1), "RF0 F0 I0 SB0 RF1 F1 I1 SB1 W0 W1 ");
}

void expect_bounds(const Schedule& schedule, const std::string& name, const ScheduleShape& shape) {
  const std::string place = fmt::format("{} of {} ranks x {}, {} micro-batches", name, shape.ranks,
                                        shape.virtual_stages, shape.micro_batches);
  ASSERT_NO_THROW(validate(schedule)) << place;
  const Simulation simulation = simulate(schedule, unit_costs(schedule.stages()));
  for (std::int64_t p = 0; p < shape.ranks; ++p) {
    const std::int64_t all = shape.micro_batches * shape.virtual_stages;
    std::int64_t bound = shape.ranks - p;
    if (name == "zb-h1") bound = shape.ranks;
    if (name == "interleaved") bound = 2 * (shape.ranks - p - 1) + (shape.virtual_stages - 1) * shape.ranks + 1;
    EXPECT_EQ(schedule.peak_live(p), std::min(bound, all)) << place << ", rank " << p;
    EXPECT_DOUBLE_EQ(simulation.busy[static_cast<std::size_t>(p)], 3.0 * static_cast<double>(all)) << place;
  }
  // Closed forms of the papers, with unit passes (a whole backward pass takes two).
  if (shape.micro_batches < shape.ranks) return;
  const auto ranks = static_cast<double>(shape.ranks - 1);
  const double ideal = 3.0 * static_cast<double>(shape.micro_batches * shape.virtual_stages);
  EXPECT_DOUBLE_EQ(simulation.length, ideal + ranks * (name == "zb-h1" ? 1.0 : 3.0)) << place;
}

TEST(Schedule, EverySizeCompletesWithinItsMemoryBoundAndBubble) {
  int checked = 0;
  for (std::int64_t ranks = 1; ranks <= 8; ++ranks) {
    for (std::int64_t micro_batches = 1; micro_batches <= 24; ++micro_batches) {
      for (const std::string name : {"1f1b", "zb-h1"}) {
        const ScheduleShape shape{.ranks = ranks, .micro_batches = micro_batches};
        expect_bounds(make_schedule(name, shape), name, shape);
        ++checked;
      }
      for (std::int64_t v = 2; v <= 4 && ranks > 1 && micro_batches % ranks == 0; ++v) {
        const ScheduleShape shape{.ranks = ranks, .virtual_stages = v, .micro_batches = micro_batches};
        expect_bounds(make_schedule("interleaved", shape), "interleaved", shape);
        ++checked;
      }
    }
  }
  std::printf("%d schedules complete under rendezvous, within their bounds of memory and bubble\n", checked);
}

TEST(Schedule, WhatCannotBeHeldIsRefused) {
  EXPECT_THROW(make_schedule("interleaved", {.ranks = 4, .virtual_stages = 2, .micro_batches = 6}), Error);
  EXPECT_THROW(make_schedule("interleaved", {.ranks = 1, .virtual_stages = 2, .micro_batches = 6}), Error);
  EXPECT_THROW(make_schedule("1f1b", {.ranks = 2, .virtual_stages = 2, .micro_batches = 6}), Error);
  EXPECT_THROW(make_schedule("gpipe", {.ranks = 2, .micro_batches = 6}), Error);
}

std::string refusal(const Schedule& schedule) {
  try {
    validate(schedule);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Schedule, ValidatorRefusesWhatWouldChangeTheSum) {
  using enum ActionKind;
  const auto one_rank = [](std::vector<Action> actions) {
    return Schedule{.actions = {std::move(actions)}, .micro_batches = 2};
  };
  EXPECT_THAT(refusal(one_rank({{kForward, 0}, {kForward, 1}, {kBackward, 1}, {kBackward, 0}})),
              testing::HasSubstr("gradients must keep micro-batch order"));
  EXPECT_THAT(refusal(one_rank({{kForward, 0},
                                {kForward, 1},
                                {kBackwardInput, 0},
                                {kBackwardInput, 1},
                                {kBackwardWeight, 1},
                                {kBackwardWeight, 0}})),
              testing::HasSubstr("weight gradients must keep micro-batch order"));
  EXPECT_THAT(refusal(one_rank({{kBackward, 0}, {kForward, 0}})), testing::HasSubstr("before its forward pass"));
  EXPECT_THAT(refusal(one_rank({{kForward, 0}, {kBackward, 0}})), testing::HasSubstr("leaves forward passes out"));
  EXPECT_THAT(refusal(one_rank({{kForward, 0, 1}})), testing::HasSubstr("stage that its rank does not have"));
}

TEST(Schedule, ValidatorFindsDeadlocksAndWrongTransfers) {
  Schedule schedule = make_schedule("1f1b", {.ranks = 2, .micro_batches = 2});
  std::vector<Action>& first = schedule.actions[0];
  std::swap(first[1], first[4]);  // the gradient before the output that it comes from is sent
  EXPECT_THAT(refusal(schedule), testing::HasSubstr("every rank waits for another"));
  schedule = make_schedule("1f1b", {.ranks = 2, .micro_batches = 2});
  std::swap(schedule.actions[0][1], schedule.actions[0][3]);
  EXPECT_THAT(refusal(schedule), testing::HasSubstr("a channel delivers in order"));
  schedule = make_schedule("1f1b", {.ranks = 2, .micro_batches = 2});
  schedule.actions[1].erase(schedule.actions[1].begin());
  EXPECT_THAT(refusal(schedule), testing::HasSubstr("does not receive an input"));
}

TEST(Mesh, CoordinatesAndRanksAreInverse) {
  const Mesh mesh{.pipeline = 2, .data = 3, .tensor = 4};
  for (std::int64_t rank = 0; rank < mesh.size(); ++rank) EXPECT_EQ(mesh.rank(mesh.coordinate(rank)), rank);
  EXPECT_EQ(mesh.coordinate(1).tensor, 1) << "the tensor axis varies fastest";
  try {
    validate(mesh, 8, "x.toml [layout]");
    FAIL() << "a mesh of 24 cannot run on 8 ranks";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("24"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find('8'), std::string::npos);
  }
}

TEST(Numerics, CountsThatDoNotDivideAreRefused) {
  NumericsConfig good{.global_batch = 32, .micro_batch = 4, .replicas = 4, .tensor_grains = 2};
  EXPECT_NO_THROW(validate(good, 128, "test"));
  NumericsConfig bad = good;
  bad.tensor_grains = 3;
  EXPECT_THROW(validate(bad, 128, "test"), Error);
  bad = good;
  bad.replicas = 3;
  EXPECT_THROW(validate(bad, 128, "test"), Error);
  bad = good;
  bad.micro_batch = 0;
  EXPECT_THROW(validate(bad, 128, "test"), Error);
}

TEST(LearningRate, WarmsUpDecaysAndStays) {
  OptimizerConfig cosine{.lr = 1.0, .schedule = "cosine", .warmup = 10, .decay = 100, .min_lr_ratio = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(cosine, 1), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(cosine, 10), 1.0);
  EXPECT_NEAR(learning_rate(cosine, 60), 0.55, 1e-12) << "half-way";
  EXPECT_NEAR(learning_rate(cosine, 110), 0.1, 1e-12);
  EXPECT_NEAR(learning_rate(cosine, 5000), 0.1, 1e-12);
  OptimizerConfig wsd{.lr = 2.0, .schedule = "wsd", .warmup = 0, .stable = 50, .decay = 10, .min_lr_ratio = 0.0};
  EXPECT_DOUBLE_EQ(learning_rate(wsd, 1), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(wsd, 50), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(wsd, 55), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(wsd, 60), 0.0);
}

}  // namespace
}  // namespace baekji
