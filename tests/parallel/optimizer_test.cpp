// The parameter store's fixed-point sums and the optimizer, on the reference kernels.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

#include "core/random.h"
#include "parallel/communicator.h"
#include "parallel/grains.h"
#include "parallel/sharded_optimizer.h"

namespace baekji {
namespace {

ParameterGroup matrix(const std::string& name, std::int64_t rows, std::int64_t columns,
                      std::int64_t contributions = 1) {
  return {.members = {{.logical = {.name = name, .shape = {rows, columns}},
                       .initialisation = {.kind = Initialisation::Kind::kConstant, .value = 0.5}}},
          .contributions = contributions};
}

class OptimizerTest : public testing::Test {
 protected:
  void build(std::int64_t replicas, OptimizerConfig config = {}) {
    optimizer_.reset();
    store_.reset();
    arena_ = std::make_unique<Arena>(Arena::Mode::kAllocate);
    // 66,000 elements: two chunks, the second one ragged.
    store_ = std::make_unique<ParameterStore>(
        ParameterStore::Args{
            .groups = {matrix("b", 3, 5, 2), matrix("a", 330, 200)}, .types = {}, .replicas = replicas},
        *kernels_, *arena_);
    optimizer_ = std::make_unique<ShardedOptimizer>(config, *store_, *kernels_, *arena_);
    for (const StateShard& shard : optimizer_->shards()) std::fill_n(shard.values[0], shard.count, 0.5F);
  }

  // Gradient sums of one replica: a pure function of (replica, contribution, element).
  void fill(std::int64_t replica) {
    for (const ParameterSlice& slice : store_->slices()) {
      std::int64_t c = 0;
      for (const Tensor& contribution : slice.contributions) {
        const RandomStream stream("test", static_cast<std::uint64_t>(replica * 10 + c++), slice.spec->logical.name);
        for (std::int64_t i = 0; i < contribution.size(); ++i) {
          contribution.as<float>()[i] = static_cast<float>(stream.normal(static_cast<std::uint64_t>(i)));
        }
      }
    }
  }

  std::vector<float> masters() const {
    std::vector<float> all;
    for (const StateShard& shard : optimizer_->shards())
      all.insert(all.end(), shard.values[0], shard.values[0] + shard.count);
    return all;
  }

  std::unique_ptr<Kernels> kernels_ = make_reference_kernels(ScalarKind::kFloat);
  std::unique_ptr<Communicator> world_ = make_self_communicator();
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<ParameterStore> store_;
  std::unique_ptr<ShardedOptimizer> optimizer_;
};

TEST_F(OptimizerTest, FollowsAdamwInDoublePrecision) {
  const OptimizerConfig config{.lr = 0.01, .eps = 1e-8, .weight_decay = 0.1, .clip = 0.5};
  build(1, config);
  double w = 0.5, m = 0, v = 0;
  for (std::int64_t t = 1; t <= 5; ++t) {
    store_->begin_step(1000);
    store_->begin_replica(0, GradientPhase::kWeight);
    fill(t);
    store_->end_replica({.phase = GradientPhase::kWeight});
    const double g0 = static_cast<double>(store_->slices()[0].contributions[0].as<float>()[7]) / 1000.0;
    const std::vector<float> before = masters();
    const StepOutcome outcome = optimizer_->step({.learning_rate = 0.01, .update = t, .global_tokens = 1000}, *world_);
    ASSERT_FALSE(outcome.is_void);
    const std::vector<float> after = masters();
    double move = 0;
    for (std::size_t i = 0; i < after.size(); ++i)
      move += std::pow(static_cast<double>(after[i]) - static_cast<double>(before[i]), 2);
    EXPECT_NEAR(outcome.move, std::sqrt(move), 1e-12 * std::sqrt(move)) << "update " << t;
    EXPECT_GT(outcome.move, 0);
    const double g = g0 * std::min(1.0, 0.5 / outcome.gradient_norm);
    m = 0.9 * m + 0.1 * g;
    v = 0.95 * v + 0.05 * g * g;
    const double step = m / (1 - std::pow(0.9, t)) / (std::sqrt(v / (1 - std::pow(0.95, t))) + 1e-8);
    w -= 0.01 * (step + 0.1 * w);
    EXPECT_NEAR(optimizer_->shards()[0].values[0][7], w, 2e-6) << "update " << t;
  }
}

TEST_F(OptimizerTest, GradientNormIsThatOfTheMeanGradient) {
  build(1);
  store_->begin_step(64);
  store_->begin_replica(0, GradientPhase::kWeight);
  fill(0);
  double sum = 0;
  for (const ParameterSlice& slice : store_->slices()) {
    for (std::int64_t i = 0; i < slice.master.size(); ++i) {
      double g = 0;
      for (const Tensor& contribution : slice.contributions) g += static_cast<double>(contribution.as<float>()[i]);
      sum += g / 64 * g / 64;
    }
  }
  store_->end_replica({.phase = GradientPhase::kWeight});
  const StepOutcome outcome = optimizer_->step({.learning_rate = 0.0, .update = 1, .global_tokens = 64}, *world_);
  EXPECT_NEAR(outcome.gradient_norm, std::sqrt(sum), 1e-5 * std::sqrt(sum));
  const auto norms = optimizer_->gradient_norms();
  EXPECT_NEAR(std::hypot(norms.at("a"), norms.at("b")), outcome.gradient_norm, 1e-12);
}

TEST_F(OptimizerTest, ReplicaOrderChangesNoBit) {
  const auto run = [&](std::vector<std::int64_t> order) {
    build(static_cast<std::int64_t>(order.size()));
    store_->begin_step(256);
    for (const std::int64_t replica : order) {
      store_->begin_replica(0, GradientPhase::kWeight);
      fill(replica);
      store_->end_replica({.phase = GradientPhase::kWeight});
    }
    EXPECT_FALSE(optimizer_->step({.learning_rate = 0.01, .update = 1, .global_tokens = 256}, *world_).is_void);
    const StateShard& a = optimizer_->shards()[0];
    return std::vector<float>(a.values[0], a.values[0] + a.count);
  };
  const auto forward = run({0, 1, 2, 3});
  EXPECT_EQ(forward, run({3, 1, 0, 2}));
  EXPECT_NE(forward, run({0, 1, 2, 4})) << "another replica's gradient must show";
}

TEST_F(OptimizerTest, AnInvalidGradientVoidsTheStepAndTouchesNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::int64_t replicas : {1, 3}) {
    for (const float bad : {nan, inf, -inf, 1e30F}) {
      build(replicas);
      store_->begin_step(1024);
      for (std::int64_t r = 0; r < replicas; ++r) {
        store_->begin_replica(0, GradientPhase::kWeight);
        fill(r);
        if (r == replicas - 1) store_->slices()[1].contributions[1].as<float>()[4] = bad;
        store_->end_replica({.phase = GradientPhase::kWeight});
      }
      const StepOutcome outcome = optimizer_->step({.learning_rate = 1.0, .update = 1, .global_tokens = 1024}, *world_);
      EXPECT_TRUE(outcome.is_void) << bad << " in one of " << replicas;
      EXPECT_EQ(outcome.void_parameter, "b");
      for (const StateShard& shard : optimizer_->shards()) {
        for (std::int64_t i = 0; i < shard.count; ++i) {
          ASSERT_EQ(shard.values[0][i], 0.5F);
          ASSERT_EQ(shard.values[1][i], 0.0F);
          ASSERT_EQ(shard.values[2][i], 0.0F);
        }
      }
    }
  }
}

TEST(GrainTree, SumsInTreeOrderAndRefusesForeignDegrees) {
  const auto kernels = make_reference_kernels(ScalarKind::kFloat);
  const auto group = make_self_communicator();
  GrainTree tree(*kernels, *group, GrainMap(4, 1, 0));
  // Chosen so that every other association gives another float.
  float leaves[4] = {1.0F, 0x1p-24F, 0x1p-24F, 0x1p-24F};
  std::vector<Tensor> tensors;
  for (float& leaf : leaves) tensors.emplace_back(&leaf, DType::kFloat32, std::initializer_list<std::int64_t>{1, 1});
  float out = 0;
  tree.reduce({.leaves_NC = tensors, .out_NC = Tensor(&out, DType::kFloat32, {1, 1})});
  EXPECT_EQ(out, (1.0F + 0x1p-24F) + (0x1p-24F + 0x1p-24F));
  EXPECT_THROW(GrainMap(4, 3, 0), Error);
  EXPECT_EQ(GrainMap(8, 4, 3).first(), 6);
}

}  // namespace
}  // namespace baekji
