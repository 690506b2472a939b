#pragma once
// Tensors for tests: owned memory, reproducible values, padded rows.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

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
    // Memory of a row even for none: a column range of it lies within its block.
    const std::int64_t pitch = columns + gap;
    return Tensor(memory((std::max<std::int64_t>(rows, 1) * pitch + 1) * size_of(type)), type, {rows, pitch})
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

  /// All memory that it has handed out, whole.
  std::vector<std::span<std::byte>> blocks() const {
    std::vector<std::span<std::byte>> all;
    for (const auto& block : blocks_) all.push_back(std::as_writable_bytes(std::span(*block)));
    return all;
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

}  // namespace baekji
