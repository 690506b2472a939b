// Fixed-point sums, the void verdict, square sums, AdamW and the grain tree: literal values, and the device
// against the reference.

#include <array>
#include <cmath>
#include <limits>

#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

using OptimizerBits = DeviceCase;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Adds, and says whether all values were usable.
bool fixed_point(Kernels& kernels, TestTensors& memory, FixedPointArgs args) {
  args.unusable = memory.integers({0});
  kernels.fixed_point_accumulate(args);
  const std::int32_t unusable = args.unusable.as<std::int32_t>()[0];
  EXPECT_TRUE(unusable == 0 || unusable == 1) << unusable;
  return unusable == 0;
}

class Optimizer : public BackEndCase {
 protected:
  bool fixed_point(const FixedPointArgs& args) { return baekji::fixed_point(*kernels_, memory_, args); }

  Tensor floats(const std::vector<float>& values) {
    const Tensor t = memory_.vector(kF, static_cast<std::int64_t>(values.size()));
    std::copy(values.begin(), values.end(), t.as<float>());
    return t;
  }
};

TEST_P(Optimizer, FixedPointRoundsToNearestEven) {
  const std::vector<float> values{0.5F,  1.5F, 2.5F,       -0.5F,   -1.5F,    0.75F,          -0.25F,
                                  -0.0F, 3.0F, 8388609.0F, 0x1p50F, -0x1p61F, 0x1.fffffep61F, 1e-30F};
  const std::vector<std::int64_t> counts{
      0, 2, 2, 0, -2, 1, 0, 0, 3, 8388609, std::int64_t{1} << 50, -(std::int64_t{1} << 61), 0x3FFFFFC000000000, 0};
  const Tensor gradient = floats(values);
  const Tensor partial = memory_.filled(memory_.vector(kI, gradient.size()), "none", 0, 10);
  EXPECT_TRUE(fixed_point({.gradient = gradient, .partial = partial, .unit_exponent = 0}));
  for (std::size_t i = 0; i < counts.size(); ++i) EXPECT_EQ(partial.as<std::int64_t>()[i], 10 + counts[i]) << values[i];
  EXPECT_TRUE(fixed_point({.gradient = gradient, .partial = partial, .unit_exponent = 0, .overwrite = true}));
  for (std::size_t i = 0; i < counts.size(); ++i) EXPECT_EQ(partial.as<std::int64_t>()[i], counts[i]) << values[i];
}

TEST_P(Optimizer, FixedPointCountsUnits) {
  const Tensor gradient = floats({1.0F, -0x1p-40F, 0x1.8p-41F, 0x1p-60F}), partial = memory_.vector(kI, 4);
  EXPECT_TRUE(fixed_point({.gradient = gradient, .partial = partial, .unit_exponent = -40, .overwrite = true}));
  const std::int64_t counts[] = {std::int64_t{1} << 40, -1, 1, 0};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(partial.as<std::int64_t>()[i], counts[i]);
}

TEST_P(Optimizer, UnusableValuesAreDetectedWhereverTheyStand) {
  constexpr std::int64_t kSize = 70001;  // several pieces, and a tail
  const Tensor partial = memory_.vector(kI, kSize);
  for (const float bad : {kNan, kInfinity, -kInfinity, 0x1p20F, -0x1p20F, 3e38F}) {
    for (const std::int64_t at : {std::int64_t{0}, std::int64_t{13}, std::int64_t{40000}, kSize - 1}) {
      const Tensor gradient = memory_.filled(memory_.vector(kF, kSize), "gradient");
      gradient.as<float>()[at] = bad;
      const double limit = 0x1p60;  // 2^20 at a unit of 2^-40
      EXPECT_FALSE(fixed_point({.gradient = gradient, .partial = partial, .limit = limit, .overwrite = true}))
          << bad << " at " << at;
      const Tensor other = memory_.filled(memory_.vector(kF, kSize), "other");
      const Tensor single[] = {gradient}, twice[] = {other, gradient};
      const std::array<SquareSumArgs, 2> args{
          SquareSumArgs{.gradient = {.contributions = single, .limit = limit}, .count = kSize},
          SquareSumArgs{.gradient = {.contributions = twice, .limit = limit}, .count = kSize}};
      std::array<SquareSum, 2> sums;
      kernels_->square_sums(args, sums);
      EXPECT_FALSE(sums[0].valid) << bad << " at " << at;
      EXPECT_FALSE(sums[1].valid) << bad << " at " << at;
    }
  }
  const Tensor fine = memory_.filled(memory_.vector(kF, kSize), "gradient");
  fine.as<float>()[5] = 0x1.fffffep19F;
  EXPECT_TRUE(fixed_point({.gradient = fine, .partial = partial, .limit = 0x1p60, .overwrite = true}));
  std::printf(
      "  24 placements of NaN, infinities and overflow are all seen; the largest float below the limit passes\n");
}

TEST_P(Optimizer, SquareSumFoldsEightLanes) {
  // Lane 0 holds 1 and 2^60; the tree adds lanes 0 and 4, 2 and 6, ... Literal evaluation of the order in kernels.h.
  std::vector<float> values(17);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) + 0.25F;
  values[8] = 0x1p30F;
  double lanes[8] = {};
  for (std::size_t i = 0; i < values.size(); ++i)
    lanes[i % 8] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  const double want = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  const Tensor gradient = floats(values);
  const Tensor contributions[] = {gradient};
  const std::array<SquareSumArgs, 1> args{
      SquareSumArgs{.gradient = {.contributions = contributions, .unit_exponent = -20, .scale = 0x1p-20}, .count = 17}};
  std::array<SquareSum, 1> sums;
  kernels_->square_sums(args, sums);
  EXPECT_TRUE(sums[0].valid);
  EXPECT_EQ(sums[0].sum, want);
}

// R = 1 keeps the sum in fp32 contributions, R > 1 in integers: one gradient, whichever way it comes.
TEST_P(Optimizer, ContributionsAndIntegersGiveTheSameStep) {
  constexpr std::int64_t kSize = 3001;
  const Tensor a = memory_.filled(memory_.vector(kF, kSize), "a", 1e-3),
               b = memory_.filled(memory_.vector(kF, kSize), "b", 100);
  for (const bool two : {false, true}) {
    const Tensor partial = memory_.vector(kI, kSize);
    fixed_point({.gradient = a, .partial = partial, .unit_exponent = -38, .overwrite = true});
    if (two) fixed_point({.gradient = b, .partial = partial, .unit_exponent = -38});
    const std::vector<Tensor> contributions = two ? std::vector<Tensor>{a, b} : std::vector<Tensor>{a};
    const GradientSource integers{.partial = partial, .unit_exponent = -38, .scale = 0x1p-38 / 3000};
    GradientSource floats_source = integers;
    floats_source.partial = Tensor();
    floats_source.contributions = contributions;
    std::vector<Tensor> masters;
    for (const GradientSource& source : {integers, floats_source}) {
      const Tensor master = memory_.filled(memory_.vector(kF, kSize), "master");
      const Tensor m = memory_.filled(memory_.vector(kF, kSize), "m"),
                   v = memory_.filled(memory_.vector(kF, kSize), "v", 1, 1);
      const std::array<AdamwArgs, 1> args{AdamwArgs{.gradient = source,
                                                    .master = master,
                                                    .moment1 = m,
                                                    .moment2 = v,
                                                    .begin = 7,
                                                    .count = kSize - 9,
                                                    .learning_rate = 0.01F}};
      std::array<double, 1> moves{};
      kernels_->adamw(args, moves);
      masters.push_back(master);
    }
    expect_same_bits(masters[0], masters[1], "master weights");
  }
}

// Neighbours add, level by level. Zero gradients and moments: a weight moves by the decay alone, so that magnitudes far
// apart tell one order from another.
TEST_P(Optimizer, MoveIsAPairTree) {
  for (const std::int64_t begin : {0, 3}) {
    constexpr std::int64_t kCount = 11;
    std::vector<float> weights(static_cast<std::size_t>(begin + kCount + 2), 1e20F);
    for (std::int64_t i = 0; i < kCount; ++i)
      weights[static_cast<std::size_t>(begin + i)] =
          (static_cast<float>(i) + 1.25F) * (i % 3 == 0 ? 0x1p13F : -0x1p-13F);
    const Tensor master = floats(weights), zero = floats(std::vector<float>(weights.size(), 0.0F)),
                 m = floats(std::vector<float>(weights.size(), 0.0F)),
                 v = floats(std::vector<float>(weights.size(), 0.0F));
    const Tensor contributions[] = {zero};
    const std::array<AdamwArgs, 1> args{AdamwArgs{.gradient = {.contributions = contributions, .scale = 0x1p-40},
                                                  .master = master,
                                                  .moment1 = m,
                                                  .moment2 = v,
                                                  .begin = begin,
                                                  .count = kCount,
                                                  .learning_rate = 0.1F,
                                                  .weight_decay = 0.3F}};
    std::array<double, 1> moves{};
    kernels_->adamw(args, moves);
    std::array<double, 16> s{};
    double left_fold = 0;
    for (std::int64_t i = 0; i < kCount; ++i) {
      const auto at = static_cast<std::size_t>(begin + i);
      const double change = static_cast<double>(master.as<float>()[at]) - static_cast<double>(weights[at]);
      s[static_cast<std::size_t>(i)] = change * change;
      left_fold += change * change;
    }
    const double want = (((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))) + ((s[8] + s[9]) + s[10]);
    EXPECT_EQ(moves[0], want);
    EXPECT_NE(want, left_fold) << "the case does not tell orders apart";
  }
}

TEST_P(Optimizer, AdamwStepByHand) {
  const Tensor gradient = floats({0.5F, -2.0F}), master = floats({1.0F, -1.0F}), m = floats({0.0F, 0.0F}),
               v = floats({0.0F, 0.0F});
  const Tensor weight = memory_.vector(DType::kBfloat16, 2);
  const Tensor contributions[] = {gradient};
  const std::array<AdamwArgs, 1> args{AdamwArgs{.gradient = {.contributions = contributions, .scale = 0x1p-40},
                                                .master = master,
                                                .moment1 = m,
                                                .moment2 = v,
                                                .weight = weight,
                                                .count = 2,
                                                .clip = 0.5F,
                                                .learning_rate = 0.1F,
                                                .eps = 1e-8F,
                                                .weight_decay = 0.1F,
                                                .correction1 = 1 - 0.9F,
                                                .correction2 = 1 - 0.95F}};
  std::array<double, 1> moves{};
  kernels_->adamw(args, moves);
  // The first step of Adam moves by lr * sign(g), and decay takes lr * weight_decay of the weight.
  EXPECT_NEAR(master.as<float>()[0], 1.0F - 0.1F - 0.01F, 1e-6F);
  EXPECT_NEAR(master.as<float>()[1], -1.0F + 0.1F + 0.01F, 1e-6F);
  EXPECT_NEAR(m.as<float>()[1], -0.1F, 1e-7F);
  EXPECT_NEAR(v.as<float>()[1], 0.05F, 1e-7F);
  EXPECT_EQ(weight.as<Bfloat16>()[0], Bfloat16(master.as<float>()[0]));
}

// ((1 + 2^-24) + ...): fp32 loses the small leaf against 1 but keeps two of them together, so each tree has its value.
TEST_P(Optimizer, GrainTreeAgainstLiteralTrees) {
  const float e = 0x1p-24F;
  const std::vector<float> leaves{1.0F, e, e, e, -1.0F, e, e, 3.0F};
  const auto tree = [&](std::size_t count) {
    std::vector<Tensor> tensors;
    for (std::size_t i = 0; i < count; ++i) tensors.push_back(floats({leaves[i]}).view({1, 1}));
    const Tensor out = memory_.matrix(kF, 1, 1);
    kernels_->tree_add({.leaves_NC = tensors, .out_NC = out});
    return out.as<float>()[0];
  };
  EXPECT_EQ(tree(1), 1.0F);
  EXPECT_EQ(tree(2), 1.0F);                      // 1 + e rounds to even
  EXPECT_EQ(tree(4), 1.0F + 0x1p-23F);           // (1 + e) + (e + e)
  const float left = 1.0F + 0x1p-23F;            // as above
  const float right = (-1.0F + e) + (e + 3.0F);  // e + 3 rounds to 3
  EXPECT_EQ(tree(8), left + right);
  EXPECT_NE(tree(4), ((leaves[0] + leaves[1]) + leaves[2]) + leaves[3]) << "a left fold would give 1";
  EXPECT_THROW(tree(3), Error);
}

TEST_P(Optimizer, RoundsToBfloat16OnceAtTheRoot) {
  const Tensor a = floats({1.0F}), b = floats({0x1p-8F}), residual = floats({0x1p-16F});
  const Tensor leaves[] = {a.view({1, 1}), b.view({1, 1})};
  const Tensor out = memory_.matrix(DType::kBfloat16, 1, 1);
  kernels_->tree_add({.leaves_NC = leaves, .out_NC = out, .residual_NC = residual.view({1, 1})});
  EXPECT_EQ(static_cast<float>(out.as<Bfloat16>()[0]), 1.0F + 0x1p-7F) << "1 + 2^-8 alone would round to even, 1";
}

INSTANTIATE_TEST_SUITE_P(BackEnds, Optimizer, ::testing::Bool(), BackEndName());

// One flag serves many calls: it only ever rises.
TEST_P(Optimizer, UnusableStaysUntilItIsTaken) {
  const Tensor unusable = memory_.integers({0}), partial = memory_.vector(kI, 1);
  const Tensor fine = floats({1.0F}), bad = floats({kNan});
  for (const Tensor& gradient : {fine, bad, fine})
    kernels_->fixed_point_accumulate({.gradient = gradient, .partial = partial, .unusable = unusable});
  EXPECT_EQ(unusable.as<std::int32_t>()[0], 1);
}

TEST_F(OptimizerBits, DeviceEqualsReference) {
  for (const std::int64_t size : {1, 15, 17, 63, 1023, 1025, 70001}) {
    for (const int kind : {0, 1, 2, 3}) {  // integers, or so many contributions
      expect_reference_bits(
          fmt::format("optimizer of {} elements, source {}", size, kind),
          [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
            std::vector<Tensor> contributions;
            for (int c = 0; c < std::max(kind, 1); ++c)
              contributions.push_back(m.filled(m.vector(kF, size), fmt::format("c{}", c), c == 0 ? 4 : 1e-6));
            const Tensor partial = m.vector(kI, size);
            const double limit = 0x1.8p41;  // at a unit of 2^-40, values above 3 are unusable and count 0
            const bool usable = fixed_point(
                kernels, m, {.gradient = contributions[0], .partial = partial, .limit = limit, .overwrite = true});
            const GradientSource source{.partial = kind == 0 ? partial : Tensor(),
                                        .contributions = contributions,
                                        .limit = limit,
                                        .scale = 0x1p-40 / 7};
            const Tensor master = m.filled(m.vector(kF, size), "master"), m1 = m.filled(m.vector(kF, size), "m1"),
                         m2 = m.filled(m.vector(kF, size), "m2", 1, 1);
            const Tensor weight = m.vector(DType::kBfloat16, size);
            const std::int64_t half = size / 2;
            std::vector<AdamwArgs> adamw(2, {.gradient = source,
                                             .master = master,
                                             .moment1 = m1,
                                             .moment2 = m2,
                                             .weight = weight,
                                             .clip = 0.7F,
                                             .learning_rate = 0.02F,
                                             .weight_decay = 0.1F,
                                             .correction1 = 0.3F,
                                             .correction2 = 0.2F});
            adamw[0].count = half;
            adamw[1].begin = half;
            adamw[1].count = size - half;
            std::vector<SquareSumArgs> squares{{.gradient = source, .count = half},
                                               {.gradient = source, .begin = half, .count = size - half}};
            std::vector<SquareSum> sums(2);
            kernels.square_sums(squares, sums);
            std::array<double, 2> moves{};
            kernels.adamw(adamw, moves);
            const Tensor verdicts = m.vector(DType::kFloat64, 7), counts = m.vector(DType::kFloat64, size);
            const double values[] = {
                sums[0].sum, sums[1].sum, sums[0].valid ? 1.0 : 0.0, sums[1].valid ? 1.0 : 0.0, usable ? 1.0 : 0.0,
                moves[0],    moves[1]};
            std::copy(std::begin(values), std::end(values), verdicts.as<double>());
            for (std::int64_t i = 0; i < size; ++i)
              counts.as<double>()[i] = static_cast<double>(partial.as<std::int64_t>()[i]);
            return {master, m1, m2, weight, verdicts, counts};
          });
    }
  }
}

TEST_F(OptimizerBits, OtherScalarsRefuse) {
  const auto kernels = make_reference_kernels(ScalarKind::kDouble);
  EXPECT_THROW(kernels->fixed_point_accumulate({}), Error);
  EXPECT_THROW(kernels->adamw({}, {}), Error);
}

TEST(CpuKernels, RefuseOtherElementTypesAndWrongPositions) {
  ThreadPool pool(2);
  const auto kernels = make_cpu_kernels(pool);
  TestTensors m;
  const Tensor x = m.matrix(DType::kFloat64, 2, 4);
  EXPECT_THROW(kernels->cast({.in = x, .out = x}), Error);
  const Tensor head = m.heads(kF, 1, 1, 4), table = m.matrix(kF, 3, 2);
  for (const std::int32_t position : {-1, 3}) {
    EXPECT_THROW(
        kernels->rope_forward(
            {.x_NHD = head, .y_NHD = head, .position_N = m.integers({position}), .cos_PE = table, .sin_PE = table}),
        Error);
  }
  const Tensor odd = m.heads(kF, 1, 1, 5);
  EXPECT_THROW(kernels->rope_forward(
                   {.x_NHD = odd, .y_NHD = odd, .position_N = m.integers({0}), .cos_PE = table, .sin_PE = table}),
               Error);
  std::printf("  %s\n", kernels->describe().c_str());
}

}  // namespace
}  // namespace baekji
