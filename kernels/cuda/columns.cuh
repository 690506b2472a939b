#pragma once
// Elementwise kernels: a thread takes kGroup neighbouring columns of one row, loads them 16 bytes at a time and stores
// each result once. Nothing depends on which threads take what, so bits depend on neither launch nor alignment.

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/cuda/queue.h"
#include "kernels/cuda/rows.cuh"

namespace baekji::cuda {

/// Columns of a thread: 16 bytes of bf16, twice 16 of fp32. The kernels use up to 64 registers, so that 1,024 threads
/// and more share a multiprocessor: 16 KiB of each bf16 input and 32 KiB of each fp32 one are on the way. 3.35 TB/s
/// over 132 multiprocessors at 0.8 us need 20 KiB in all (H100), 8 TB/s over 148 need 43 KiB (B200; Little's law), of
/// which inputs are a half to three quarters: what is written waits for nobody.
inline constexpr int kGroup = 8;
inline constexpr unsigned kGroupThreads = 256;

/// A group of columns that lies whole and 16-byte aligned in its row, or the part of one that the row has.
/// Two types, and one choice between them for all of a thread's tensors, so that its loads stand in one run of code and
/// all leave before the first is waited for.
struct WholeGroup {};
struct PartOfGroup {
  int count = 0;
};
/// The part that has `left` columns left, or all of an unaligned group.
__device__ inline PartOfGroup part_of_group(std::int64_t left) {
  return {left < kGroup ? static_cast<int>(left) : kGroup};
}

/// The elements of a group, unconverted; those that a part lacks are zero.
template <class T>
struct Columns {
  static constexpr int kPack = kPerVector<T>;
  Pack<T, kPack> packs[kGroup / kPack];

  __device__ T& element(int i) { return packs[i / kPack].value[i % kPack]; }
  __device__ const T& element(int i) const { return packs[i / kPack].value[i % kPack]; }
  __device__ float operator[](int i) const { return to_float(element(i)); }
};
template <class T>
__device__ Columns<T> load_columns(const T* from, WholeGroup /*whole*/) {
  constexpr int kPack = Columns<T>::kPack;
  Columns<T> columns;
#pragma unroll
  for (int p = 0; p < kGroup / kPack; ++p) columns.packs[p] = load_pack<T, kPack>(from + p * kPack);
  return columns;
}
template <class T>
__device__ Columns<T> load_columns(const T* from, PartOfGroup part) {
  Columns<T> columns;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) columns.element(i) = i < part.count ? from[i] : T(0.0F);
  return columns;
}
template <class T>
__device__ void store_columns(T* to, const Columns<T>& columns, WholeGroup /*whole*/) {
  constexpr int kPack = Columns<T>::kPack;
#pragma unroll
  for (int p = 0; p < kGroup / kPack; ++p) store_pack<T, kPack>(to + p * kPack, columns.packs[p]);
}
template <class T>
__device__ void store_columns(T* to, const Columns<T>& columns, PartOfGroup part) {
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    if (i < part.count) to[i] = columns.element(i);
  }
}
template <class T>
__device__ void load_floats(const T* from, auto extent, float (&to)[kGroup]) {
  const Columns<T> columns = load_columns(from, extent);
#pragma unroll
  for (int i = 0; i < kGroup; ++i) to[i] = columns[i];
}
/// One rounding for each element.
template <class T>
__device__ void store_floats(T* to, const float (&from)[kGroup], auto extent) {
  Columns<T> columns;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) columns.element(i) = from_float<T>(from[i]);
  store_columns(to, columns, extent);
}

/// body(row, column, extent) for every group of a [rows, width] matrix. Columns run along x; rows along y, in turns
/// when they are more than a grid's y can be.
template <class Body>
__global__ void __launch_bounds__(kGroupThreads) for_groups(const std::int64_t rows, const std::int64_t width,
                                                            const bool aligned, const __grid_constant__ Body body) {
  const std::int64_t column = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kGroup;
  if (column >= width) return;
  const std::int64_t left = width - column;
  const std::int64_t turn = std::int64_t{gridDim.y} * blockDim.y;
  for (std::int64_t row = std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < rows; row += turn) {
    if (aligned && left >= kGroup) {
      body(row, column, WholeGroup{});
    } else {
      body(row, column, part_of_group(left));
    }
  }
}

/// Threads of a block along groups of columns, the rest of kGroupThreads along rows.
inline dim3 group_block(std::int64_t width) {
  const auto groups = static_cast<std::uint64_t>(std::clamp<std::int64_t>(ceil_div(width, kGroup), 1, kGroupThreads));
  const auto x = static_cast<unsigned>(std::bit_ceil(groups));
  return dim3(x, kGroupThreads / x);
}

template <class Body>
void launch_groups(std::int64_t rows, std::int64_t width, bool aligned, Queue& queue, const char* name,
                   const Body& body) {
  constexpr std::int64_t kMostGridRows = 65535;
  if (rows == 0 || width == 0) return;
  const dim3 block = group_block(width);
  const dim3 grid(blocks_for(width, std::int64_t{block.x} * kGroup),
                  static_cast<unsigned>(std::min(ceil_div(rows, block.y), kMostGridRows)));
  launch({.grid = grid, .block = block}, queue.stream(), name, for_groups<Body>, rows, width, aligned, body);
}

}  // namespace baekji::cuda
