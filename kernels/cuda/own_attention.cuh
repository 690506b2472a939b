#pragma once
// What the forward and the backward kernels of our own attention share: operands, tiles in shared memory, and the two
// products of a tile.
//
// A block is 16 x 16 threads over a tile of kRows x kRows (queries and keys) or kRows x head width: thread (ty, tx) has
// rows ty * kRows / 16 ... and columns tx, tx + 16, ... So the 16 threads of a row are half a warp, which is how sums
// along a row run in 16 lanes.

#include <limits>
#include <type_traits>

#include "core/functions.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/own_attention.h"

namespace baekji::cuda {

inline constexpr int kSide = 16;
inline constexpr unsigned kTileThreads = kSide * kSide;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

/// Heads of `width` elements with rows in any layout: row t of head h of sequence b.
template <class Element>
struct Heads {
  Element* data = nullptr;
  std::int64_t sequence = 0;  ///< strides, in elements
  std::int64_t row = 0;
  std::int64_t head = 0;

  __device__ Element* at(std::int64_t b, std::int64_t t, std::int64_t h) const {
    return data + b * sequence + t * row + h * head;
  }
};

template <class Element>
Heads<Element> heads_of(const Tensor& x) {
  return {.data = x.device_as<std::remove_const_t<Element>>(),
          .sequence = x.stride(0),
          .row = x.stride(1),
          .head = x.stride(2)};
}

/// Which keys a query sees, [first, end), as in kernels.h.
struct Visibility {
  const std::int32_t* first = nullptr;  ///< null: 0
  std::int64_t sequence = 0;
  std::int64_t queries = 0;
  std::int64_t keys = 0;
};

struct AttentionExtents {
  std::int64_t heads = 0;
  std::int64_t group = 1;  ///< query heads per key head
  std::int64_t width = 0;
  float scale = 1;
  Visibility visible;
};

/// fp32 values of one head's rows. Rows of kStride: an odd number of words, so that 16 rows at one column lie in 16
/// banks.
template <int kWidth>
struct Tile {
  static constexpr int kRows = kWidth > 128 ? 32 : 64;
  static constexpr int kRowsEach = kRows / kSide;
  static constexpr int kColumnsEach = kWidth / kSide;
  static constexpr int kStride = kWidth + 1;
  static constexpr int kFloats = kRows * kStride;
  using Scores = float[kRowsEach][kRowsEach];
  using Sums = float[kRowsEach][kColumnsEach];
};

__device__ inline int tile_row() {
  return static_cast<int>(threadIdx.x) / kSide;
}
__device__ inline int tile_column() {
  return static_cast<int>(threadIdx.x) % kSide;
}

/// Rows [begin, begin + kRows) of one head; zero at and after `end` and beyond the head width.
template <int kWidth, class Element>
__device__ void load_tile(float* tile, const Heads<const Element>& x, std::int64_t b, std::int64_t h,
                          std::int64_t begin, std::int64_t end, std::int64_t width) {
  for (int i = static_cast<int>(threadIdx.x); i < Tile<kWidth>::kRows * kWidth; i += static_cast<int>(kTileThreads)) {
    const int r = i / kWidth;
    const int d = i % kWidth;
    const bool inside = begin + r < end && d < width;
    tile[r * Tile<kWidth>::kStride + d] = inside ? static_cast<float>(x.at(b, begin + r, h)[d]) : 0.0F;
  }
}

/// sum = rows of a times rows of b, each a fold over d from +0.
template <int kWidth>
__device__ void multiply_rows(const float* a, const float* b, std::int64_t width, typename Tile<kWidth>::Scores& sum) {
  using T = Tile<kWidth>;
  const float* row = a + tile_row() * T::kRowsEach * T::kStride;
  const float* column = b + tile_column() * T::kStride;
#pragma unroll
  for (int i = 0; i < T::kRowsEach; ++i) {
#pragma unroll
    for (int j = 0; j < T::kRowsEach; ++j) sum[i][j] = 0;
  }
  for (int d = 0; d < width; ++d) {
    float left[T::kRowsEach];
#pragma unroll
    for (int i = 0; i < T::kRowsEach; ++i) left[i] = row[i * T::kStride + d];
#pragma unroll
    for (int j = 0; j < T::kRowsEach; ++j) {
      const float right = column[j * kSide * T::kStride + d];
#pragma unroll
      for (int i = 0; i < T::kRowsEach; ++i) sum[i][j] = std::fma(left[i], right, sum[i][j]);
    }
  }
}

/// sum += weights[row][c] * rows[c], folding over the kRows columns c of the weights.
template <int kWidth>
__device__ void add_weighted_rows(const float* weights, int weights_stride, const float* rows,
                                  typename Tile<kWidth>::Sums& sum) {
  using T = Tile<kWidth>;
  const float* left = weights + tile_row() * T::kRowsEach * weights_stride;
  for (int c = 0; c < T::kRows; ++c) {
    const float* right = rows + c * T::kStride + tile_column();
    float weight[T::kRowsEach];
#pragma unroll
    for (int i = 0; i < T::kRowsEach; ++i) weight[i] = left[i * weights_stride + c];
#pragma unroll
    for (int j = 0; j < T::kColumnsEach; ++j) {
      const float value = right[j * kSide];
#pragma unroll
      for (int i = 0; i < T::kRowsEach; ++i) sum[i][j] = std::fma(weight[i], value, sum[i][j]);
    }
  }
}

/// Stores sums as rows [begin, ...) of one head, up to `end`.
template <int kWidth, class Element>
__device__ void store_rows(const typename Tile<kWidth>::Sums& sum, const Heads<Element>& x, std::int64_t b,
                           std::int64_t h, std::int64_t begin, std::int64_t end, std::int64_t width) {
  using T = Tile<kWidth>;
#pragma unroll
  for (int i = 0; i < T::kRowsEach; ++i) {
    const std::int64_t row = begin + tile_row() * T::kRowsEach + i;
    if (row >= end) continue;
    Element* to = x.at(b, row, h);
#pragma unroll
    for (int j = 0; j < T::kColumnsEach; ++j) {
      const int d = tile_column() + j * kSide;
      if (d < width) to[d] = Element(sum[i][j]);
    }
  }
}

/// What an element of a bf16 product is before it is multiplied again.
template <class Element>
__device__ float rounded(float value) {
  return static_cast<float>(Element(value));
}

/// The keys that a tile of queries sees, by row and in all.
template <int kWidth>
struct TileKeys {
  int first[Tile<kWidth>::kRows];
  int end[Tile<kWidth>::kRows];  ///< 0 for a row that is not there

  /// By all threads, between barriers.
  __device__ void load(const Visibility& v, std::int64_t b, std::int64_t begin) {
    for (int r = static_cast<int>(threadIdx.x); r < Tile<kWidth>::kRows; r += static_cast<int>(kTileThreads)) {
      const std::int64_t t = begin + r;
      const bool inside = t < v.queries;
      first[r] = inside && v.first != nullptr ? v.first[b * v.sequence + t] : 0;
      end[r] = inside ? static_cast<int>(t + (v.keys - v.queries) + 1) : 0;
    }
  }
  __device__ bool sees(int row, std::int64_t key) const { return key >= first[row] && key < end[row]; }
  __device__ bool sees_any(int row, std::int64_t begin, std::int64_t stop) const {
    return first[row] < stop && end[row] > begin;
  }
  __device__ std::int64_t least() const {
    int key = first[0];
    for (int r = 1; r < Tile<kWidth>::kRows; ++r) {
      if (end[r] > 0 && first[r] < key) key = first[r];
    }
    return key;
  }
  __device__ std::int64_t past() const {
    int key = end[0];
    for (int r = 1; r < Tile<kWidth>::kRows; ++r) key = end[r] > key ? end[r] : key;
    return key;
  }
};

/// The sum over the 16 threads of a row, in the tree of reduce.h; every thread has it.
__device__ inline float row_tree(float lane) {
  for (int half = kSide / 2; half >= 1; half /= 2) lane = lane + __shfl_xor_sync(kAllLanes, lane, half, kSide);
  return lane;
}

inline AttentionExtents extents_of(const Tensor& q_BTHD, const Tensor& k_BTKD, const Tensor& first_BT, double scale) {
  const bool masked = first_BT.defined();
  return {.heads = q_BTHD.dim(2),
          .group = q_BTHD.dim(2) / k_BTKD.dim(2),
          .width = q_BTHD.dim(3),
          .scale = static_cast<float>(scale),
          .visible = {.first = masked ? first_BT.device_as<std::int32_t>() : nullptr,
                      .sequence = masked ? first_BT.stride(0) : 0,
                      .queries = q_BTHD.dim(1),
                      .keys = k_BTKD.dim(1)}};
}

/// Calls Launch::run<Element, kWidth>(args, queue) for the storage type and a width that holds the heads of the
/// queries. (Not a generic lambda: its call operator would be constexpr, so nvcc would compile it for the device.)
template <class Launch, class Element, class Args>
void launch_for_width(const Args& args, Queue& queue) {
  const std::int64_t width = args.q_BTHD.dim(3);
  if (width <= 64)
    Launch::template run<Element, 64>(args, queue);
  else if (width <= 128)
    Launch::template run<Element, 128>(args, queue);
  else
    Launch::template run<Element, kOwnAttentionWidth>(args, queue);
}
template <class Launch, class Args>
void launch_for_shape(const Args& args, Queue& queue) {
  if (args.q_BTHD.type() == DType::kBfloat16)
    launch_for_width<Launch, Bfloat16>(args, queue);
  else
    launch_for_width<Launch, float>(args, queue);
}

}  // namespace baekji::cuda
