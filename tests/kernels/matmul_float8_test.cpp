// Products of 8-bit operands: the reference against exact sums, the CPU against the reference bit for bit.

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "core/random.h"
#include "kernels/cpu/matmul.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/test_tensors.h"

namespace baekji {
namespace {

constexpr DType kE4 = DType::kFloat8E4M3, kE5 = DType::kFloat8E5M2;

struct TypePair {
  DType a, b;
};
constexpr TypePair kPairs[] = {{kE4, kE4}, {kE5, kE4}, {kE4, kE5}};

std::uint8_t* codes(const Tensor& t) {
  return static_cast<std::uint8_t*>(t.data());
}

double value_of(const Tensor& t, std::int64_t at) {
  const std::uint8_t code = codes(t)[at];
  Float8E4M3 e4;
  Float8E5M2 e5;
  e4.bits = e5.bits = code;
  return static_cast<double>(t.type() == kE4 ? static_cast<float>(e4) : static_cast<float>(e5));
}

Tensor one(TestTensors& memory, float value) {
  const Tensor t = memory.vector(kF, 1);
  t.as<float>()[0] = value;
  return t;
}

// Codes from `choose`, which takes a random number.
template <class Choose>
Tensor random_codes(TestTensors& memory, DType type, std::int64_t rows, std::int64_t columns, std::int64_t gap,
                    const char* name, const Choose& choose) {
  const Tensor t = memory.matrix(type, rows, columns, gap);
  const RandomStream stream("float8", 1, name);
  for (std::int64_t i = 0; i < rows * t.stride(0); ++i) {
    codes(t)[i] = choose(stream.below(static_cast<std::uint64_t>(i), 1U << 30));
  }
  return t;
}

// Finite values of either sign.
std::uint8_t finite_code(std::uint64_t random) {
  return static_cast<std::uint8_t>((random & 0x80U) | (random >> 8) % 0x7CU);
}

TEST(MatmulFloat8, EveryProductOfTwoValuesIsExact) {
  const auto kernels = make_reference_kernels(ScalarKind::kFloat);
  for (const TypePair& pair : kPairs) {
    TestTensors memory;
    MatmulArgs m{.a = memory.matrix(pair.a, 256, 1),
                 .b = memory.matrix(pair.b, 256, 1),
                 .c = memory.matrix(kF, 256, 256),
                 .transpose_b = true,
                 .scale_a = one(memory, 0x1p-9F),
                 .scale_b = one(memory, 0x1p5F)};
    for (std::int64_t i = 0; i < 256; ++i) codes(m.a)[i] = codes(m.b)[i] = static_cast<std::uint8_t>(i);
    kernels->matmul(m);
    std::int64_t finite = 0;
    for (std::int64_t i = 0; i < 256; ++i) {
      for (std::int64_t j = 0; j < 256; ++j) {
        const double want = 0x1p-4 * value_of(m.a, i) * value_of(m.b, j);
        const float got = m.c.as<float>()[i * 256 + j];
        if (!std::isfinite(want)) {
          ASSERT_FALSE(std::isfinite(got)) << i << " " << j;
        } else {
          ASSERT_EQ(static_cast<double>(got), want) << i << " " << j;
          ++finite;
        }
      }
    }
    EXPECT_GT(finite, 240 * 240);
  }
}

// Multiples of one power of two, so few that the sums of all products are exact in fp32 in any order.
TEST(MatmulFloat8, SumsOfSmallMultiplesAreExact) {
  const auto kernels = make_reference_kernels(ScalarKind::kFloat);
  constexpr std::int64_t kRows = 9, kColumns = 11, kInner = 1000;
  for (const TypePair& pair : kPairs) {
    for (const DType output : {kF, kB}) {
      TestTensors memory;
      const auto small = [](DType type) {
        return [type](std::uint64_t random) {
          const auto value = static_cast<float>(static_cast<std::int64_t>(random % 9) - 4);
          return type == kE4 ? Float8E4M3(value).bits : Float8E5M2(value).bits;
        };
      };
      MatmulArgs m{.a = random_codes(memory, pair.a, kRows, kInner, 3, "a", small(pair.a)),
                   .b = random_codes(memory, pair.b, kColumns, kInner, 5, "b", small(pair.b)),
                   .c = memory.filled(memory.matrix(output, kRows, kColumns, 2), "c"),
                   .transpose_b = true,
                   .accumulate = output == kF,
                   .scale_a = one(memory, 0x1p-3F),
                   .scale_b = one(memory, 0x1p-7F)};
      TestTensors before;
      const Tensor old = before.filled(before.matrix(output, kRows, kColumns, 2), "c");
      kernels->matmul(m);
      for (std::int64_t i = 0; i < kRows; ++i) {
        for (std::int64_t j = 0; j < kColumns; ++j) {
          double sum = 0;
          for (std::int64_t k = 0; k < kInner; ++k)
            sum += value_of(m.a, i * m.a.stride(0) + k) * value_of(m.b, j * m.b.stride(0) + k);
          const auto scaled = static_cast<float>(0x1p-10 * sum);
          const std::int64_t at = i * m.c.stride(0) + j;
          if (output == kF)
            ASSERT_EQ(m.c.as<float>()[at], old.as<float>()[at] + scaled);
          else
            ASSERT_EQ(m.c.as<Bfloat16>()[at], Bfloat16(scaled));
        }
      }
    }
  }
}

TEST(MatmulFloat8, CpuHasTheBitsOfTheReference) {
  struct Shape {
    std::int64_t rows, columns, inner;
  };
  int checked = 0;
  for (const TypePair& pair : kPairs) {
    for (const Shape& s : {Shape{1, 1, 1}, Shape{3, 70, 33}, Shape{64, 32, 128}, Shape{130, 300, 257},
                           Shape{257, 48, 1040}, Shape{16, 600, 64}}) {
      for (const bool accumulate : {false, true}) {
        for (const DType output : {kF, kB}) {
          if (accumulate && output == kB) continue;
          const std::int64_t gap = s.rows % 2 * 5;
          expect_reference_bits(
              fmt::format("{} x {} -> {}{}, {}x{}x{}", name_of(pair.a), name_of(pair.b), name_of(output),
                          accumulate ? " accumulated" : "", s.rows, s.columns, s.inner),
              [&](Kernels& kernels, TestTensors& memory) {
                const MatmulArgs m{.a = random_codes(memory, pair.a, s.rows, s.inner, gap, "a", finite_code),
                                   .b = random_codes(memory, pair.b, s.columns, s.inner, gap, "b", finite_code),
                                   .c = memory.filled(memory.matrix(output, s.rows, s.columns, gap), "c", 1e6),
                                   .transpose_b = true,
                                   .accumulate = accumulate,
                                   .b_is_weight = s.columns % 16 == 0,
                                   .scale_a = one(memory, 0x1p-11F),
                                   .scale_b = one(memory, 0x1p3F)};
                kernels.matmul(m);
                return std::vector<Tensor>{m.c};
              });
          if (HasFatalFailure()) return;
          ++checked;
        }
      }
    }
  }
  std::printf("%d products of 8-bit operands have the reference's bits on 1, 2, 3 and 8 threads\n", checked);
}

TEST(MatmulFloat8, TakesNoMemoryOfItsOwn) {
  ThreadPool pool(2);
  CpuMatmul matmul(pool);
  const std::int64_t bytes = matmul.scratch_bytes();
  TestTensors memory;
  matmul.run({.a = random_codes(memory, kE4, 300, 700, 0, "a", finite_code),
              .b = random_codes(memory, kE4, 400, 700, 0, "b", finite_code),
              .c = memory.matrix(kB, 300, 400),
              .transpose_b = true,
              .b_is_weight = true,
              .scale_a = one(memory, 1),
              .scale_b = one(memory, 1)});
  EXPECT_EQ(matmul.scratch_bytes(), bytes);
  EXPECT_EQ(matmul.packed_bytes(), 0);
}

// An operand whose maximum was not finite comes with that as its scale and NaN codes (QuantiseArgs).
TEST(MatmulFloat8, AScaleThatIsNotFiniteShowsInEveryElement) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    TestTensors memory;
    const Tensor x = memory.filled(memory.matrix(kB, 16, 32), "x");
    x.as<Bfloat16>()[5 * 32 + 7] = Bfloat16(bad);
    const Tensor max = one(memory, 0);
    const Tensor scale = one(memory, 0);
    const Tensor x8 = memory.matrix(kE4, 16, 32);
    const auto kernels = make_reference_kernels(ScalarKind::kFloat);
    kernels->absolute_max({.in = x, .max = max});
    kernels->quantise({.in_NC = x, .max = max, .out_NC = x8, .scale = scale});
    const MatmulArgs m{.a = x8,
                       .b = random_codes(memory, kE4, 16, 32, 0, "b", finite_code),
                       .c = memory.matrix(kF, 16, 16),
                       .transpose_b = true,
                       .scale_a = scale,
                       .scale_b = one(memory, 1)};
    kernels->matmul(m);
    for (std::int64_t i = 0; i < m.c.size(); ++i) ASSERT_TRUE(std::isnan(m.c.as<float>()[i]));
  }
}

TEST(MatmulFloat8, RefusesWhatHopperDoesNotMultiply) {
  TestTensors memory;
  const auto matrix = [&](DType type) { return memory.matrix(type, 16, 16); };
  const MatmulArgs good{.a = matrix(kE5),
                        .b = matrix(kE4),
                        .c = matrix(kB),
                        .transpose_b = true,
                        .scale_a = one(memory, 1),
                        .scale_b = one(memory, 1)};
  const auto kernels = make_reference_kernels(ScalarKind::kFloat);
  EXPECT_NO_THROW(kernels->matmul(good));
  const auto refusal = [&](const MatmulArgs& args) {
    try {
      kernels->matmul(args);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  MatmulArgs bad = good;
  bad.b = matrix(kE5);
  EXPECT_THAT(refusal(bad), testing::HasSubstr("no product of these 8-bit types"));
  bad.b = matrix(kB);
  EXPECT_THAT(refusal(bad), testing::HasSubstr("no product of these 8-bit types"));
  bad = good;
  bad.transpose_b = false;
  EXPECT_THAT(refusal(bad), testing::HasSubstr("inner dim last"));
  bad = good;
  bad.transpose_a = true;
  EXPECT_THAT(refusal(bad), testing::HasSubstr("inner dim last"));
  bad = good;
  bad.accumulate = true;
  EXPECT_THAT(refusal(bad), testing::HasSubstr("no such result"));
  bad = good;
  bad.scale_b = Tensor();
  EXPECT_THAT(refusal(bad), testing::HasSubstr("scale_b"));
  bad = good;
  bad.a = bad.b = matrix(kB);
  EXPECT_THAT(refusal(bad), testing::HasSubstr("only operands of 8 bits have scales"));
}

}  // namespace
}  // namespace baekji
