#include "parallel/schedule.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "parallel/mesh.h"
#include "parallel/numerics.h"
#include "parallel/optimizer_config.h"

namespace baekji {
namespace {

TEST(Schedule, OneForwardOneBackwardIsGradientAccumulationOnOneStage) {
  const Schedule schedule = one_forward_one_backward(1, 3);
  EXPECT_EQ(schedule.describe(), "0: F0 B0 F1 B1 F2 B2\n");
  EXPECT_EQ(schedule.peak_live(0), 1);
}

TEST(Schedule, EverySizeIsValidAndWithinItsMemoryBound) {
  for (std::int64_t stages = 1; stages <= 8; ++stages) {
    for (std::int64_t micro_batches = 1; micro_batches <= 20; ++micro_batches) {
      const Schedule schedule = one_forward_one_backward(stages, micro_batches);
      ASSERT_NO_THROW(validate(schedule)) << stages << " stages, " << micro_batches << " micro-batches";
      for (std::int64_t p = 0; p < stages; ++p) {
        EXPECT_EQ(schedule.peak_live(static_cast<std::size_t>(p)), std::min(stages - p, micro_batches));
      }
    }
  }
}

TEST(Schedule, ValidatorRefusesWhatWouldChangeTheSum) {
  Schedule schedule = one_forward_one_backward(1, 2);
  schedule.actions[0] = {
      {ActionKind::kForward, 0}, {ActionKind::kForward, 1}, {ActionKind::kBackward, 1}, {ActionKind::kBackward, 0}};
  EXPECT_THROW(validate(schedule), Error) << "weight gradients out of order";
  schedule.actions[0] = {{ActionKind::kBackward, 0}, {ActionKind::kForward, 0}};
  EXPECT_THROW(validate(schedule), Error) << "backward before forward";
  schedule.actions[0] = {{ActionKind::kForward, 0}, {ActionKind::kBackward, 0}};
  EXPECT_THROW(validate(schedule), Error) << "a micro-batch left out";
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
