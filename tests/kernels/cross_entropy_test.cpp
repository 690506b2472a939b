// The cross-entropy passes against known values, and what padding, absent targets and NaN do.

#include <cmath>
#include <limits>

#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

class CrossEntropy : public BackEndCase {
 protected:
  struct Result {
    Tensor max, sum, target_logit, loss;
  };
  Result run(const Tensor& logits, const Tensor& target, std::int64_t columns) {
    const std::int64_t n = logits.dim(0);
    const auto vector = [&] { return memory_.filled(memory_.vector(kF, n), "none", 0, -5); };
    const Result r{vector(), vector(), vector(), vector()};
    kernels_->logits_max({.logits_NV = logits, .max_N = r.max, .columns = columns});
    kernels_->logits_exp_sum({.logits_NV = logits,
                              .max_N = r.max,
                              .sum_N = r.sum,
                              .target_N = target,
                              .target_logit_N = r.target_logit,
                              .columns = columns});
    kernels_->token_loss({.sum_N = r.sum, .target_logit_N = r.target_logit, .loss_N = r.loss});
    return r;
  }
};

TEST_P(CrossEntropy, EqualLogitsGiveLogOfTheVocabulary) {
  for (const std::int64_t columns : {1, 7, 4096}) {
    const Tensor logits = memory_.filled(memory_.matrix(kF, 2, columns), "flat", 0, 3);
    const Result r = run(logits, memory_.integers({0, static_cast<std::int32_t>(columns - 1)}), columns);
    EXPECT_NEAR(r.loss.as<float>()[0], std::log(static_cast<double>(columns)), 1e-6);
    EXPECT_EQ(r.loss.as<float>()[0], r.loss.as<float>()[1]);
    EXPECT_EQ(r.max.as<float>()[0], 3.0F);
  }
}

TEST_P(CrossEntropy, PaddingNeverCountsAndGetsNoGradient) {
  const Tensor logits = memory_.filled(memory_.matrix(kF, 3, 20), "logits");
  for (std::int64_t n = 0; n < 3; ++n) {
    for (std::int64_t v = 13; v < 20; ++v) logits.as<float>()[n * 20 + v] = 1e30F;
  }
  const Tensor target = memory_.integers({0, 12, 5});
  const Result r = run(logits, target, 13);
  const Tensor gradient = memory_.filled(memory_.matrix(kF, 3, 20), "junk");
  kernels_->logits_gradient(
      {.exp_NV = logits, .sum_N = r.sum, .target_N = target, .dlogits_NV = gradient, .columns = 13});
  for (std::int64_t n = 0; n < 3; ++n) {
    EXPECT_TRUE(std::isfinite(r.loss.as<float>()[n]));
    double sum = 0;
    for (std::int64_t v = 0; v < 13; ++v) sum += static_cast<double>(gradient.as<float>()[n * 20 + v]);
    EXPECT_NEAR(sum, 0, 1e-6) << "the softmax gradient of a row sums to zero";
    for (std::int64_t v = 13; v < 20; ++v) EXPECT_EQ(gradient.as<float>()[n * 20 + v], 0.0F);
  }
}

TEST_P(CrossEntropy, ATargetOfAnotherSliceIsLeftAlone) {
  const Tensor logits = memory_.filled(memory_.matrix(kF, 2, 8), "logits");
  const Result r = run(logits, memory_.integers({8, 3}), 8);
  EXPECT_EQ(r.target_logit.as<float>()[0], -5.0F);
  EXPECT_NE(r.target_logit.as<float>()[1], -5.0F);
}

TEST_P(CrossEntropy, NanAndOverflowStayVisibleInTheLoss) {
  const Tensor logits = memory_.filled(memory_.matrix(kF, 3, 40), "logits");
  logits.as<float>()[17] = std::numeric_limits<float>::quiet_NaN();
  logits.as<float>()[40 + 39] = std::numeric_limits<float>::infinity();
  const Result r = run(logits, memory_.integers({3, 3, 3}), 40);
  EXPECT_TRUE(std::isnan(r.loss.as<float>()[0]));
  EXPECT_FALSE(std::isfinite(r.loss.as<float>()[1]));
  EXPECT_TRUE(std::isfinite(r.loss.as<float>()[2]));
}

TEST_P(CrossEntropy, CombineTakesTheLargerOfSlices) {
  const Tensor first = memory_.filled(memory_.matrix(kF, 1, 3), "none", 0, 2),
               second = memory_.filled(memory_.matrix(kF, 1, 3), "none", 0, -1);
  const Tensor max = memory_.vector(kF, 1);
  kernels_->logits_max({.logits_NV = first, .max_N = max, .columns = 3});
  kernels_->logits_max({.logits_NV = second, .max_N = max, .combine = true, .columns = 3});
  EXPECT_EQ(max.as<float>()[0], 2.0F);
  kernels_->logits_max({.logits_NV = second, .max_N = max, .columns = 0});
  EXPECT_EQ(max.as<float>()[0], -std::numeric_limits<float>::infinity()) << "a slice of padding alone";
}

TEST_P(CrossEntropy, WrongShapesAreNamed) {
  const Tensor logits = memory_.matrix(kF, 2, 8), max = memory_.vector(kF, 3);
  try {
    kernels_->logits_max({.logits_NV = logits, .max_N = max, .columns = 8});
    FAIL() << "accepted a vector of another length";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("max [2]"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("logits_max"), std::string::npos) << error.what();
  }
  EXPECT_THROW(kernels_->logits_max({.logits_NV = logits, .max_N = max.rows(0, 2), .columns = 9}), Error);
}

TEST_P(CrossEntropy, SequenceLossesAddInFp64InPositionOrder) {
  const std::vector<float> losses{1.0F, 0x1p-30F, -0x1p40F, 0x1p40F, 3.0F, -0.0F};
  const Tensor loss = memory_.vector(kF, 6), sum = memory_.filled(memory_.vector(DType::kFloat64, 2), "junk");
  std::copy(losses.begin(), losses.end(), loss.as<float>());
  kernels_->sequence_loss({.loss_BT = loss.view({2, 3}), .sum_B = sum});
  EXPECT_EQ(sum.as<double>()[0], (1.0 + 0x1p-30) - 0x1p40);
  EXPECT_EQ(sum.as<double>()[1], 0x1p40 + 3.0);
  EXPECT_THROW(kernels_->sequence_loss({.loss_BT = loss.view({3, 2}), .sum_B = sum}), Error);
}

INSTANTIATE_TEST_SUITE_P(BackEnds, CrossEntropy, ::testing::Bool(), BackEndName());

}  // namespace
}  // namespace baekji
