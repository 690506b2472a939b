#pragma once
// What the row-wise CPU kernels share: storage types, sixteen lanes in one vector, and how many rows make a task.
//
// Elementwise loops are written over scalars and left to the compiler (the tests hold them to the reference bit for
// bit); only sums, whose order the contract fixes, are written over explicit vectors.

#include <cstring>
#include <type_traits>
#include <utility>

#include "core/tensor.h"
#include "kernels/reference/reduce.h"

// The vectors below never cross a translation unit, so their calling convention does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

// Iterations of the next loop are independent even where tensors may be one another (in-place operations).
#define BAEKJI_INDEPENDENT _Pragma("GCC ivdep")

namespace baekji::cpu {

inline float to_float(float value) {
  return value;
}
inline float to_float(Bfloat16 value) {
  return static_cast<float>(value);
}
template <class T>
T from_float(float value) {
  return T(value);
}

/// Calls body(std::type_identity<T>) for the storage type of `tensor`: fp32 or bf16; throws on any other.
template <class Body>
void with_storage(const Tensor& tensor, std::string_view operation, const Body& body) {
  switch (tensor.type()) {
    case DType::kFloat32:
      body(std::type_identity<float>());
      return;
    case DType::kBfloat16:
      body(std::type_identity<Bfloat16>());
      return;
    default:
      throw Error("the CPU kernels compute in fp32 and bf16 only")
          .values("fp32 or bf16", tensor.describe())
          .at(operation)
          .hint("other element types are served by the reference kernels");
  }
}

/// Rows of a task: enough work to be worth a hand-over, few enough to share. Depends on the shape alone.
inline std::int64_t rows_per_task(std::int64_t width) {
  constexpr std::int64_t kTaskElements = 16384;
  return width >= kTaskElements ? 1 : kTaskElements / (width < 1 ? 1 : width);
}

template <class T>
T* row_of(const Tensor& tensor, std::int64_t row) {
  return tensor.as<T>() + row * tensor.stride(0);
}

using RowLanes = float __attribute__((vector_size(kRowLanes * sizeof(float))));

inline RowLanes load_row_lanes(const float* from) {
  RowLanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}
inline RowLanes load_row_lanes(const Bfloat16* from) {
  using Halves = std::uint16_t __attribute__((vector_size(kRowLanes * sizeof(std::uint16_t))));
  using Words = std::uint32_t __attribute__((vector_size(kRowLanes * sizeof(std::uint32_t))));
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  return std::bit_cast<RowLanes>(words);
}
/// The first `count` (< 16) elements, zeros behind them. Adding a zero term changes no lane: lanes start at +0.
template <class T>
RowLanes load_row_tail(const T* from, std::int64_t count) {
  T padded[kRowLanes] = {};
  std::memcpy(padded, from, static_cast<std::size_t>(count) * sizeof(T));
  return load_row_lanes(padded);
}
inline void store_row_lanes(float* to, RowLanes lanes) {
  std::memcpy(to, &lanes, sizeof lanes);
}

/// lane_tree of reduce.h on a vector.
inline float lane_tree(RowLanes v) {
  const auto h8 = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                  __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto h4 = __builtin_shufflevector(h8, h8, 0, 1, 2, 3) + __builtin_shufflevector(h8, h8, 4, 5, 6, 7);
  const auto h2 = __builtin_shufflevector(h4, h4, 0, 1) + __builtin_shufflevector(h4, h4, 2, 3);
  return h2[0] + h2[1];
}

/// The sum of term(i...) over [0, size) in the lane order, where term maps vectors loaded from the rows to a vector.
template <class Term, class... T>
float row_fold(std::int64_t size, const Term& term, const T*... rows) {
  RowLanes lanes{};
  std::int64_t i = 0;
  for (; i + kRowLanes <= size; i += kRowLanes) lanes += term(load_row_lanes(rows + i)...);
  if (i < size) lanes += term(load_row_tail(rows + i, size - i)...);
  return lane_tree(lanes);
}

}  // namespace baekji::cpu
