// CPU matmul against its specification, bit for bit: one scalar fold per element (kernels/cpu/matmul_tile.h,
// amx_tile.h). What
// every device owes stands in DeviceMatmul.

#include "kernels/cpu/matmul.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "core/random.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/device_under_test.h"

namespace baekji {
namespace {

using DeviceMatmul = DeviceCase;

float flushed(float x) {
  return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0F, x) : x;
}

float element(const Tensor& t, std::int64_t i, std::int64_t j) {
  const std::int64_t at = i * t.stride(0) + j;
  return t.type() == DType::kBfloat16 ? flushed(static_cast<float>(t.as<Bfloat16>()[at])) : t.as<float>()[at];
}

using Element = std::function<float(std::int64_t)>;

/// The left fold over pairs, the odd index first (matmul_tile.h).
float fold_of_pairs(const Element& a, const Element& b, std::int64_t inner) {
  float sum = 0;
  for (std::int64_t k = 0; k < inner; k += 2) {
    if (k + 1 < inner) sum = flushed(std::fma(a(k + 1), b(k + 1), sum));
    sum = flushed(std::fma(a(k), b(k), sum));
  }
  return sum;
}

/// The left fold over blocks of 32 (amx_tile.h).
float fold_of_blocks(const Element& a, const Element& b, std::int64_t inner) {
  float sum = 0;
  for (std::int64_t block = 0; block < inner; block += 32) {
    std::array<float, 2> chains{};
    for (std::int64_t k = block; k < std::min(block + 32, inner); ++k) {
      float& chain = chains[static_cast<std::size_t>(k % 2)];
      chain = flushed(std::fma(a(k), b(k), chain));
    }
    sum = flushed(sum + flushed(chains[0] + chains[1]));
  }
  return sum;
}

float fold_of_floats(const Element& a, const Element& b, std::int64_t inner) {
  float sum = 0;
  for (std::int64_t k = 0; k < inner; ++k) sum = std::fma(a(k), b(k), sum);
  return sum;
}

/// The contract, one element at a time.
void specified(const MatmulArgs& m) {
  const std::int64_t inner = m.a.dim(m.transpose_a ? 0 : 1);
  const auto fold = m.a.type() != DType::kBfloat16 ? fold_of_floats : cpu::amx_ready() ? fold_of_blocks : fold_of_pairs;
  for (std::int64_t i = 0; i < m.c.dim(0); ++i) {
    std::vector<float> row(static_cast<std::size_t>(inner));
    for (std::int64_t k = 0; k < inner; ++k)
      row[static_cast<std::size_t>(k)] = m.transpose_a ? element(m.a, k, i) : element(m.a, i, k);
    for (std::int64_t j = 0; j < m.c.dim(1); ++j) {
      const auto b = [&](std::int64_t k) { return m.transpose_b ? element(m.b, j, k) : element(m.b, k, j); };
      const auto a = [&](std::int64_t k) { return row[static_cast<std::size_t>(k)]; };
      float sum = fold(a, b, inner);
      const std::int64_t at = i * m.c.stride(0) + j;
      if (m.accumulate) sum = m.c.as<float>()[at] + sum;
      set_element(m.c, at, static_cast<double>(sum));
    }
  }
}

struct Shape {
  std::int64_t rows, columns, inner;
};

struct Variant {
  DType type = DType::kFloat32;
  DType output = DType::kFloat32;
  bool transpose_a = false, transpose_b = false, accumulate = false, weight = false;
  std::int64_t gap = 0;

  std::string describe(const Shape& s) const {
    return fmt::format("{}x{}x{} {} -> {}{}{}{}{} gap {}", s.rows, s.columns, s.inner, name_of(type), name_of(output),
                       transpose_a ? " ta" : "", transpose_b ? " tb" : "", accumulate ? " acc" : "",
                       weight ? " weight" : "", gap);
  }
};

MatmulArgs build(TestTensors& memory, const Shape& s, const Variant& v) {
  MatmulArgs m{
      .transpose_a = v.transpose_a, .transpose_b = v.transpose_b, .accumulate = v.accumulate, .b_is_weight = v.weight};
  m.a = memory.filled(
      v.transpose_a ? memory.matrix(v.type, s.inner, s.rows, v.gap) : memory.matrix(v.type, s.rows, s.inner, v.gap),
      "a");
  m.b = memory.filled(v.transpose_b ? memory.matrix(v.type, s.columns, s.inner, v.gap)
                                    : memory.matrix(v.type, s.inner, s.columns, v.gap),
                      "b");
  m.c = memory.filled(memory.matrix(v.output, s.rows, s.columns, v.gap), "c");
  return m;
}

void expect_specified(const Shape& shape, const Variant& variant, std::initializer_list<int> threads) {
  TestTensors memory;
  const MatmulArgs want = build(memory, shape, variant);
  specified(want);
  for (const int count : threads) {
    ThreadPool pool(count);
    CpuMatmul matmul(pool);
    TestTensors fresh;
    const MatmulArgs got = build(fresh, shape, variant);
    matmul.run(got);
    expect_same_bits(got.c, want.c, variant.describe(shape));
    for (std::int64_t i = 0; variant.gap > 0 && i + 1 < shape.rows; ++i) {  // what lies between rows is not ours
      for (std::int64_t j = shape.columns; j < got.c.stride(0); ++j)
        ASSERT_EQ(element(got.c, i, j), element(want.c, i, j)) << variant.describe(shape);
    }
  }
}

std::vector<Variant> all_variants() {
  std::vector<Variant> variants;
  for (int bits = 0; bits < 8; ++bits) {
    Variant v{
        .transpose_a = (bits & 1) != 0, .transpose_b = (bits & 2) != 0, .weight = (bits & 4) != 0, .gap = bits % 3 * 5};
    variants.push_back(v);
    v.accumulate = true;
    variants.push_back(v);
    v.type = DType::kBfloat16;
    variants.push_back(v);
    v.accumulate = false;
    variants.push_back(v);
    v.output = DType::kBfloat16;
    variants.push_back(v);
  }
  return variants;
}

TEST(Matmul, IsTheSpecifiedFoldInEveryVariant) {
  int checked = 0;
  for (const Variant& variant : all_variants()) {
    for (const Shape& s : {Shape{1, 1, 1}, Shape{1, 70, 33}, Shape{3, 31, 7}, Shape{14, 32, 16}, Shape{15, 33, 17},
                           Shape{29, 5, 300}, Shape{65, 129, 65}}) {
      expect_specified(s, variant, {2});
      if (HasFatalFailure()) return;
      ++checked;
    }
  }
  fmt::print("{} problems equal their scalar folds bit for bit; bf16 {} AMX tiles\n", checked,
             cpu::amx_ready() ? "in" : "without");
}

TEST(Matmul, LongInnerDimsAndManyTasksKeepTheFold) {
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    expect_specified({70, 600, 4500}, {.type = type, .transpose_b = true, .weight = true}, {1, 2, 3, 8});
    // Rows whose distance aliases in the cache are copied first.
    expect_specified({67, 90, 2048}, {.type = type, .transpose_b = true, .weight = true}, {1, 3});
    expect_specified({20, 600, 3072}, {.type = type, .weight = true}, {2});
    expect_specified({130, 300, 1025}, {.type = type, .transpose_a = true, .accumulate = true}, {1, 2, 3, 8});
    expect_specified({300, 90, 513}, {.type = type, .transpose_b = true}, {3});
    if (HasFatalFailure()) return;
  }
}

// docs: these weight-gradient shapes change bits with the thread count in oneDNN 2.6.
TEST(Matmul, WeightGradientsAtSliceShapesAgreeOnAnyThreads) {
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    for (const Shape& s : {Shape{64, 64, 8192}, Shape{128, 64, 4096}, Shape{256, 32, 4096}, Shape{256, 256, 1024}}) {
      const Variant v{.type = type, .transpose_a = true, .accumulate = true};
      TestTensors memory;
      const MatmulArgs want = build(memory, s, v);
      ThreadPool one(1);
      CpuMatmul(one).run(want);
      for (const int threads : {2, 3, 8}) {
        ThreadPool pool(threads);
        TestTensors fresh;
        const MatmulArgs got = build(fresh, s, v);
        CpuMatmul(pool).run(got);
        expect_same_bits(got.c, want.c, v.describe(s));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Matmul, RowsAndColumnsMayBeSplitAnywhere) {
  ThreadPool pool(2);
  CpuMatmul matmul(pool);
  for (const Variant& v : all_variants()) {
    TestTensors memory;
    const Shape s{100, 150, 90};
    const MatmulArgs whole = build(memory, s, v);
    const MatmulArgs parts = build(memory, s, v);
    matmul.run(whole);
    for (const auto& [row, rows] : {std::pair{0, 1}, {1, 36}, {37, 63}}) {
      for (const auto& [column, columns] : {std::pair{0, 47}, {47, 103}}) {
        MatmulArgs part = parts;
        part.a = v.transpose_a ? parts.a.columns(row, rows) : parts.a.rows(row, rows);
        part.b = v.transpose_b ? parts.b.rows(column, columns) : parts.b.columns(column, columns);
        part.c = parts.c.rows(row, rows).columns(column, columns);
        matmul.run(part);
      }
    }
    expect_same_bits(parts.c, whole.c, v.describe(s));
    if (HasFatalFailure()) return;
  }
}

TEST_F(DeviceMatmul, AccumulationIsOneAdditionAfterTheDot) {
  KernelsUnderTest device;
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    TestTensors memory;
    const MatmulArgs sum = build(memory, {90, 70, 700}, {.type = type, .transpose_a = true, .accumulate = true});
    const MatmulArgs dot = build(memory, {90, 70, 700}, {.type = type, .transpose_a = true});
    const std::vector<double> before = values_of(sum.c);
    device.on(memory).matmul(sum);
    device.on(memory).matmul(dot);
    const std::vector<double> after = values_of(sum.c);
    const std::vector<double> dots = values_of(dot.c);
    for (std::size_t i = 0; i < after.size(); ++i) {
      ASSERT_EQ(static_cast<float>(after[i]), static_cast<float>(before[i]) + static_cast<float>(dots[i]));
    }
  }
}

TEST_F(DeviceMatmul, StaysNearTheReference) {
  KernelsUnderTest device;
  for (const Variant& v : all_variants()) {
    TestTensors memory;
    const MatmulArgs got = build(memory, {40, 50, 333}, v);
    const MatmulArgs want = build(memory, {40, 50, 333}, v);
    device.on(memory).matmul(got);
    reference::matmul<float>(want);
    expect_close("matmul", got.c, want.c);
  }
}

TEST(Matmul, PackedWeightsLiveUntilWeightsChanged) {
  ThreadPool pool(2);
  CpuMatmul matmul(pool);
  for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
    TestTensors memory;
    const MatmulArgs m = build(memory, {20, 100, 65}, {.type = type, .transpose_b = true, .weight = true});
    const std::int64_t before = matmul.packed_bytes();
    matmul.run(m);
    const std::int64_t bytes = matmul.packed_bytes();
    EXPECT_GE(bytes - before, CpuMatmul::packed_bytes_of(type, 65, 100));
    memory.filled(m.b, "other weights");
    matmul.weights_changed();
    matmul.run(m);
    EXPECT_EQ(matmul.packed_bytes(), bytes) << "packed again in place";
    const MatmulArgs want = build(memory, {20, 100, 65}, {.type = type, .transpose_b = true});
    memory.filled(want.b, "other weights");
    matmul.run(want);
    expect_same_bits(m.c, want.c, "after weights_changed");
  }
}

TEST(Matmul, PairDotsAreTwoFusedMultiplyAdds) {
  const RandomStream stream("kernel tests", 7, "pair dots");
  for (std::uint64_t n = 0; n < 10000; ++n) {
    cpu::U32 a{}, b{};
    cpu::F32 c{};
    for (int lane = 0; lane < cpu::kLanes; ++lane) {
      const auto bits = [&](std::uint64_t i) {
        const double u = stream.uniform((n * 64 + static_cast<std::uint64_t>(lane)) * 3 + i);
        return static_cast<std::uint32_t>(u * 4294967296.0);
      };
      // Small exponents as well: products reach the subnormal range, where the instruction flushes.
      const std::uint32_t mask = n % 2 == 0 ? 0xBFFFBFFFU : 0xA0FFA0FFU;
      a[lane] = bits(0) & mask;
      b[lane] = bits(1) & mask;
      c[lane] = std::bit_cast<float>(bits(2) & (n % 2 == 0 ? 0xBFFFFFFFU : 0x81FFFFFFU));
    }
    // One step of a tile, whichever way this processor takes: the instruction, or fused multiply-adds that flush.
    cpu::F32 got{};
    for (int lane = 0; lane < cpu::kLanes; ++lane) {
      alignas(64) float partial[cpu::kLanes];
      cpu::store_vector(partial, c);
      cpu::F32 folded[1][1];
      const std::uint32_t row = a[lane];
      cpu::TileFold<Bfloat16, 1, 1>::run({.a = reinterpret_cast<const std::byte*>(&row),
                                          .b = reinterpret_cast<const std::byte*>(&b),
                                          .steps = 1,
                                          .resume = true,
                                          .partial = partial},
                                         folded);
      got[lane] = folded[0][0][lane];
    }
    const cpu::F32 want = cpu::dot_pairs_portable(a, b, c);
    ASSERT_EQ(std::memcmp(&got, &want, sizeof(want)), 0) << "case " << n;
  }
}

TEST_F(DeviceMatmul, NotANumberStaysInItsRowOrColumn) {
  KernelsUnderTest device;
  TestTensors memory;
  const MatmulArgs m = build(memory, {20, 40, 33}, {.transpose_b = true});
  set_element(m.a, 3 * m.a.stride(0) + 5, std::nan(""));
  device.on(memory).matmul(m);
  for (std::int64_t i = 0; i < 20; ++i) {
    for (std::int64_t j = 0; j < 40; ++j) EXPECT_EQ(std::isnan(element(m.c, i, j)), i == 3);
  }
}

TEST_F(DeviceMatmul, EmptyProblems) {
  KernelsUnderTest device;
  TestTensors memory;
  const Tensor a = memory.matrix(DType::kFloat32, 3, 0);
  const Tensor b = memory.matrix(DType::kFloat32, 0, 5);
  const Tensor c = memory.filled(memory.matrix(DType::kFloat32, 3, 5), "c");
  const std::vector<double> before = values_of(c);
  device.on(memory).matmul({.a = a, .b = b, .c = c, .accumulate = true});
  EXPECT_EQ(values_of(c), before);
  device.on(memory).matmul({.a = a, .b = b, .c = c});
  EXPECT_EQ(values_of(c), std::vector<double>(15));
  device.on(memory).matmul({.a = a.rows(0, 0), .b = b, .c = c.rows(0, 0)});
}

TEST_F(DeviceMatmul, RefusesWhatItCannotDo) {
  KernelsUnderTest device;
  TestTensors memory;
  const auto make = [&](DType type) { return memory.filled(memory.matrix(type, 4, 4), "x"); };
  const Tensor f = make(DType::kFloat32);
  const Tensor h = make(DType::kBfloat16);
  EXPECT_THROW(device.on(memory).matmul({.a = f, .b = h, .c = f}), Error);
  EXPECT_THROW(device.on(memory).matmul({.a = f, .b = f, .c = h}), Error);
  EXPECT_THROW(device.on(memory).matmul({.a = h, .b = h, .c = make(DType::kBfloat16), .accumulate = true}), Error);
  EXPECT_THROW(
      device.on(memory).matmul({.a = make(DType::kFloat64), .b = make(DType::kFloat64), .c = make(DType::kFloat64)}),
      Error);
  EXPECT_THROW(device.on(memory).matmul({.a = f, .b = f.rows(0, 3), .c = make(DType::kFloat32)}), Error);
  try {
    device.on(memory).matmul({.a = f, .b = h, .c = f});
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("fp32 x bf16 -> fp32"));
  }
}

}  // namespace
}  // namespace baekji
