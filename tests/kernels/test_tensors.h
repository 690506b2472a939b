#pragma once
// Tensors for tests: owned memory, reproducible values, padded rows.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "tests/kernels/tolerance.h"

namespace baekji {

inline constexpr DType kF = DType::kFloat32, kB = DType::kBfloat16, kI = DType::kInt64;

inline void set_element(const Tensor& t, std::int64_t at, double value) {
  switch (t.type()) {
    case DType::kFloat32:
      t.as<float>()[at] = static_cast<float>(value);
      break;
    case DType::kBfloat16:
      t.as<Bfloat16>()[at] = Bfloat16(static_cast<float>(value));
      break;
    case DType::kFloat64:
      t.as<double>()[at] = value;
      break;
    case DType::kComplex128:
      t.as<Complex>()[at] = value;
      break;
    case DType::kInt32:
      t.as<std::int32_t>()[at] = static_cast<std::int32_t>(value);
      break;
    case DType::kInt64:
      t.as<std::int64_t>()[at] = static_cast<std::int64_t>(value);
      break;
    case DType::kFloat8E4M3:
      t.as<Float8E4M3>()[at] = Float8E4M3(static_cast<float>(value));
      break;
    case DType::kFloat8E5M2:
      t.as<Float8E5M2>()[at] = Float8E5M2(static_cast<float>(value));
      break;
  }
}

/// Hands out tensors over memory of its own, filled with the same values in every element type.
class TestTensors {
 public:
  /// [rows, columns] with `gap` unused elements behind each row.
  Tensor matrix(DType type, std::int64_t rows, std::int64_t columns, std::int64_t gap = 0) {
    return Tensor(memory((rows * (columns + gap) + 1) * size_of(type)), type, {rows, columns + gap})
        .columns(0, columns);
  }
  /// [n, heads, width], a column range of wider rows.
  Tensor heads(DType type, std::int64_t n, std::int64_t count, std::int64_t width, std::int64_t gap = 0) {
    return matrix(type, n, count * width, gap).split_last(count);
  }
  /// [b, t, heads, width].
  Tensor sequences(DType type, std::int64_t b, std::int64_t t, std::int64_t count, std::int64_t width,
                   std::int64_t gap = 0) {
    return heads(type, b * t, count, width, gap).split_first(b);
  }
  Tensor vector(DType type, std::int64_t size) { return Tensor(memory((size + 1) * size_of(type)), type, {size}); }
  Tensor integers(const std::vector<std::int32_t>& values) {
    const Tensor t = vector(DType::kInt32, static_cast<std::int64_t>(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) t.as<std::int32_t>()[i] = values[i];
    return t;
  }

  /// Row-major uniform values in centre +- spread, of a stream named `name`; the memory between rows gets them too.
  Tensor filled(Tensor t, const std::string& name, double spread = 2, double centre = 0) {
    if (t.size() == 0) return t;
    const std::uint64_t key = std::hash<std::string>()(name);
    std::int64_t extent = 1;
    for (int d = 0; d < t.rank(); ++d) extent += (t.dim(d) - 1) * t.stride(d);
    const std::int64_t pitch = t.rank() > 1 ? t.stride(t.rank() == 4 ? 1 : 0) : 0;
    const std::int64_t width = pitch == 0 ? 0 : t.size() / (t.rank() == 4 ? t.dim(0) * t.dim(1) : t.dim(0));
    for (std::int64_t i = 0; i < extent; ++i) {
      const bool gap = pitch != 0 && i % pitch >= width;
      const std::int64_t index = pitch == 0 ? i : i / pitch * width + i % pitch;
      set_element(t, i, gap ? 777 : centre + spread * (2 * uniform(key + static_cast<std::uint64_t>(index)) - 1));
    }
    return t;
  }

 private:
  /// SplitMix64's output function: cheap, and good enough for values that only have to be unlike each other.
  static double uniform(std::uint64_t x) {
    x *= 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
  }
  void* memory(std::int64_t size_bytes) {
    blocks_.push_back(std::make_unique<std::vector<std::max_align_t>>(
        static_cast<std::size_t>(size_bytes) / sizeof(std::max_align_t) + 1));
    return blocks_.back()->data();
  }
  std::vector<std::unique_ptr<std::vector<std::max_align_t>>> blocks_;
};

/// Builds inputs, runs one operation and returns what it wrote.
using KernelCase = std::function<std::vector<Tensor>(Kernels&, TestTensors&)>;

/// The CPU kernels on 1, 2, 3 and 8 threads against the reference: the same bits everywhere.
inline void expect_reference_bits(const std::string& what, const KernelCase& run) {
  TestTensors want_memory;
  const auto reference = make_reference_kernels(ScalarKind::kFloat);
  const std::vector<Tensor> want = run(*reference, want_memory);
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    const auto kernels = make_cpu_kernels(pool);
    for (int repeat = 0; repeat < 2; ++repeat) {  // scratch memory of an earlier call must not show
      TestTensors got_memory;
      const std::vector<Tensor> got = run(*kernels, got_memory);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        expect_same_bits(got[i], want[i], fmt::format("{}, output {}, {} threads", what, i, threads));
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace baekji
