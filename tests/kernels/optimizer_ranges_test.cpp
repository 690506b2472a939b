// The optimizer's operations on many ranges in one call: begins of any alignment, sources of every kind side by side,
// and verdicts that belong to their range alone.

#include <limits>

#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

/// Where a range's gradient comes from.
enum class SourceKind { kIntegers, kOne, kTwo, kMany };
constexpr SourceKind kSourceKinds[] = {SourceKind::kIntegers, SourceKind::kOne, SourceKind::kTwo, SourceKind::kMany};

/// What a training step has of one parameter.
struct Parameter {
  Tensor partial;
  std::vector<Tensor> contributions;
  Tensor master, moment1, moment2, weight;

  GradientSource source(SourceKind kind) const {
    constexpr double kLimit = 0x1p44;  // 16 at a unit of 2^-40
    const std::size_t count = kind == SourceKind::kOne ? 1 : kind == SourceKind::kTwo ? 2 : contributions.size();
    if (kind == SourceKind::kIntegers) return {.partial = partial, .scale = 0x1p-40 / 3};
    return {.contributions = std::span(contributions).first(count), .limit = kLimit, .scale = 0x1p-40 / 3};
  }
};

Tensor integers(TestTensors& m, std::int64_t size, const std::string& name) {
  const Tensor values = m.filled(m.vector(DType::kFloat64, size), name, 0x1p50);
  const Tensor t = m.vector(kI, size);
  for (std::int64_t i = 0; i < size; ++i) {
    t.as<std::int64_t>()[i] = static_cast<std::int64_t>(values.as<double>()[i]) * 33 + i;  // more bits than fp64 has
  }
  return t;
}
Tensor as_doubles(TestTensors& m, const Tensor& t) {
  const Tensor values = m.vector(DType::kFloat64, 2 * t.size());
  for (std::int64_t i = 0; i < t.size(); ++i) {
    const auto bits = static_cast<std::uint64_t>(t.as<std::int64_t>()[i]);
    values.as<double>()[2 * i] = static_cast<double>(bits >> 32);
    values.as<double>()[2 * i + 1] = static_cast<double>(bits & 0xFFFFFFFFU);
  }
  return values;
}

/// `offset` unused elements before each tensor of the parameter.
Parameter parameter(TestTensors& m, std::int64_t size, DType weight, std::int64_t offset = 0) {
  const auto vector = [&](DType type) { return m.vector(type, offset + size).rows(offset, size); };
  Parameter p{.partial = integers(m, offset + size, "partial").rows(offset, size),
              .master = m.filled(vector(kF), "master"),
              .moment1 = m.filled(vector(kF), "moment1"),
              .moment2 = m.filled(vector(kF), "moment2", 1, 1)};
  for (int c = 0; c < 9; ++c)
    p.contributions.push_back(m.filled(vector(kF), fmt::format("c{}", c), c % 2 == 0 ? 4 : 1e-6));
  if (weight != kI) p.weight = m.filled(vector(weight), "weight");
  return p;
}

AdamwArgs adamw_of(const Parameter& p, SourceKind kind, std::int64_t begin, std::int64_t count) {
  return {.gradient = p.source(kind),
          .master = p.master,
          .moment1 = p.moment1,
          .moment2 = p.moment2,
          .weight = p.weight,
          .begin = begin,
          .count = count,
          .clip = 0.7F,
          .learning_rate = 0.02F + 0.001F * static_cast<float>(begin % 7),  // scalars are a range's own
          .weight_decay = 0.1F,
          .correction1 = 0.3F,
          .correction2 = 0.2F};
}

Tensor as_tensor(TestTensors& m, const std::vector<SquareSum>& sums) {
  const Tensor t = m.vector(DType::kFloat64, 2 * static_cast<std::int64_t>(sums.size()));
  for (std::size_t i = 0; i < sums.size(); ++i) {
    t.as<double>()[2 * i] = sums[i].sum;
    t.as<double>()[2 * i + 1] = sums[i].valid ? 1 : 0;
  }
  return t;
}

Tensor as_tensor(TestTensors& m, const std::vector<double>& values) {
  const Tensor t = m.vector(DType::kFloat64, static_cast<std::int64_t>(values.size()));
  std::copy(values.begin(), values.end(), t.as<double>());
  return t;
}

class OptimizerRangeBits : public DeviceCase {};

// Ranges of growing length one behind the other, empty ones among them, with gaps that must stay as they are; each
// begins at another alignment and has another kind of source.
TEST_F(OptimizerRangeBits, ManyRangesDeviceEqualsReference) {
  for (const DType weight : {kB, kF, kI}) {  // int64 stands for none
    for (const std::int64_t offset : {0, 1, 6}) {
      expect_reference_bits(
          fmt::format("ranges, weight {}, offset {}", name_of(weight), offset),
          [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
            constexpr std::int64_t kSize = 30000;
            const Parameter p = parameter(m, kSize, weight, offset);
            std::vector<SquareSumArgs> squares;
            std::vector<AdamwArgs> steps;
            std::int64_t begin = 3, count = 0;
            for (; begin + count <= kSize; begin += count + 1, ++count) {
              const SourceKind kind = kSourceKinds[count % 4];
              squares.push_back({.gradient = p.source(kind), .begin = begin, .count = count});
              steps.push_back(adamw_of(p, kind, begin, count));
              if (count % 50 == 0) {
                squares.push_back({.gradient = p.source(kind), .begin = begin});
                steps.push_back(adamw_of(p, kind, begin, 0));
              }
            }
            std::vector<SquareSum> sums(squares.size());
            kernels.square_sums(squares, sums);
            std::vector<double> moves(steps.size());
            kernels.adamw(steps, moves);
            std::vector<Tensor> results{p.master, p.moment1, p.moment2, as_tensor(m, sums), as_tensor(m, moves)};
            if (p.weight.defined()) results.push_back(p.weight);
            return results;
          });
    }
  }
}

// Whole chunks as the training loop has them, and a last one that is shorter.
TEST_F(OptimizerRangeBits, ChunksDeviceEqualsReference) {
  for (const SourceKind kind : kSourceKinds) {
    expect_reference_bits(fmt::format("chunks, source {}", static_cast<int>(kind)),
                          [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
                            constexpr std::int64_t kChunk = 65536, kSize = 2 * kChunk + 4321;
                            const Parameter p = parameter(m, kSize, kB);
                            std::vector<SquareSumArgs> squares;
                            std::vector<AdamwArgs> steps;
                            for (std::int64_t begin = 0; begin < kSize; begin += kChunk) {
                              const std::int64_t count = std::min(kChunk, kSize - begin);
                              squares.push_back({.gradient = p.source(kind), .begin = begin, .count = count});
                              steps.push_back(adamw_of(p, kind, begin, count));
                            }
                            std::vector<SquareSum> sums(squares.size());
                            kernels.square_sums(squares, sums);
                            std::vector<double> moves(steps.size());
                            kernels.adamw(steps, moves);
                            const std::vector<AdamwArgs> whole{adamw_of(p, kind, 0, kSize)};  // ranges have any length
                            std::vector<double> move(1);
                            kernels.adamw(whole, move);
                            return {p.master,           p.moment1,           p.moment2,         p.weight,
                                    as_tensor(m, sums), as_tensor(m, moves), as_tensor(m, move)};
                          });
  }
}

TEST_F(OptimizerRangeBits, FixedPointDeviceEqualsReference) {
  for (const std::int64_t size : {0, 1, 7, 8, 9, 16, 100, 5003}) {
    for (const std::int64_t offset : {0, 1, 2, 3, 7}) {
      for (const std::int64_t gradient_offset : {offset, std::int64_t{2}}) {  // aligned together, or not at all
        expect_reference_bits(
            fmt::format("fixed point of {} elements, {} and {} before", size, gradient_offset, offset),
            [&](Kernels& kernels, TestTensors& m) -> std::vector<Tensor> {
              const Tensor all = integers(m, offset + size + 5, "partial");
              const Tensor gradient =
                  m.filled(m.vector(kF, gradient_offset + size), "gradient").rows(gradient_offset, size);
              const Tensor unusable = m.integers({0});
              const FixedPointArgs args{.gradient = gradient, .partial = all.rows(offset, size), .unusable = unusable};
              kernels.fixed_point_accumulate(args);
              const Tensor fresh = integers(m, offset + size, "fresh");
              kernels.fixed_point_accumulate({.gradient = gradient,
                                              .partial = fresh.rows(offset, size),
                                              .unusable = unusable,
                                              .limit = 0x1p40,
                                              .overwrite = true});
              return {as_doubles(m, all), as_doubles(m, fresh), unusable};
            });
      }
    }
  }
}

class OptimizerRanges : public BackEndCase {};

// Neighbours of a range with a NaN or an overflow, in whichever contribution and place, keep a clean verdict.
TEST_P(OptimizerRanges, VerdictsStayWithTheirRange) {
  constexpr std::int64_t kRanges = 37, kCount = 203;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), 16.0F}) {
    for (const std::int64_t at : {std::int64_t{0}, 18 * kCount + 77, kRanges * kCount - 1}) {
      const Parameter p = parameter(memory_, kRanges * kCount, kB);
      p.contributions[1].as<float>()[at] = bad;
      std::vector<SquareSumArgs> args;
      for (std::int64_t r = 0; r < kRanges; ++r)
        args.push_back({.gradient = p.source(SourceKind::kTwo), .begin = r * kCount, .count = kCount});
      std::vector<SquareSum> sums(args.size(), {.sum = -1, .valid = false});
      kernels_->square_sums(args, sums);
      for (std::int64_t r = 0; r < kRanges; ++r) {
        EXPECT_EQ(sums[static_cast<std::size_t>(r)].valid, r != at / kCount) << bad << " at " << at << ", range " << r;
      }
    }
  }
}

TEST_P(OptimizerRanges, NothingToDo) {
  std::vector<SquareSum> sums;
  kernels_->square_sums({}, sums);
  kernels_->adamw({}, {});
  const Parameter p = parameter(memory_, 5, kB);
  const std::vector<SquareSumArgs> empty{{.gradient = p.source(SourceKind::kOne)}};
  sums.assign(1, {.sum = 5, .valid = false});
  kernels_->square_sums(empty, sums);
  EXPECT_EQ(sums[0].sum, 0);
  EXPECT_TRUE(sums[0].valid);
  const std::vector<AdamwArgs> steps{adamw_of(p, SourceKind::kOne, 2, 0)};
  std::vector<double> moves{5};
  kernels_->adamw(steps, moves);
  EXPECT_EQ(moves[0], 0);
  EXPECT_THROW(kernels_->square_sums(empty, {}), Error) << "no room for the result";
  EXPECT_THROW(kernels_->adamw(steps, {}), Error) << "no room for the result";
}

INSTANTIATE_TEST_SUITE_P(BackEnds, OptimizerRanges, ::testing::Bool(), BackEndName());

}  // namespace
}  // namespace baekji
