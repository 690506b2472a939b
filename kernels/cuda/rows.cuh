#pragma once
// What the row-wise CUDA kernels share: rows of tensors as typed pointers, 16-byte accesses with a scalar path beside
// them, and the sums whose order the contract fixes (kernels/reference/reduce.h).
//
// Bandwidth is all that these kernels need: a warp's accesses are neighbouring 16-byte pieces where addresses allow it.
// Which path a call takes depends on addresses and strides, never the result.

#include <bit>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/tensor.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/reference/reduce.h"

namespace baekji::cuda {

inline constexpr unsigned kWholeWarp = 0xFFFFFFFFU;
inline constexpr std::int64_t kVectorBytes = 16;

__device__ inline float to_float(float value) {
  return value;
}
__device__ inline float to_float(Bfloat16 value) {
  return static_cast<float>(value);
}
template <class T>
__device__ T from_float(float value) {
  return T(value);
}

/// Calls body(std::type_identity<T>) for the storage type of `tensor`: fp32 or bf16; throws on any other, and where the
/// tensor is not the device's.
template <class Body>
void with_storage(const Tensor& tensor, std::string_view operation, const Body& body) {
  if (tensor.device().is_host())
    throw Error("the GPU cannot read this tensor").values("memory of the device", tensor.describe()).at(operation);
  switch (tensor.type()) {
    case DType::kFloat32:
      body(std::type_identity<float>());
      return;
    case DType::kBfloat16:
      body(std::type_identity<Bfloat16>());
      return;
    default:
      throw Error("this CUDA kernel computes in fp32 and bf16 only")
          .values("fp32 or bf16", tensor.describe())
          .at(operation);
  }
}

/// The rows of a matrix: dim 0 of a tensor, `stride` elements apart.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t stride = 0;

  __device__ T* operator[](std::int64_t row) const { return data + row * stride; }
};
template <class T>
Rows<T> rows_of(const Tensor& tensor) {
  return {tensor.device_as<std::remove_const_t<T>>(), tensor.stride(0)};
}

/// Whether row after row of each of them begins at a multiple of 16 bytes, so that vectors serve all but a row's tail.
template <class... Tensors>
bool vector_rows(const Tensors&... tensors) {
  const auto aligned = [](const Tensor& t) {
    const bool strides = t.rank() < 2 || t.dim(0) <= 1 || t.stride(0) * size_of(t.type()) % kVectorBytes == 0;
    return strides && std::bit_cast<std::uintptr_t>(t.data()) % kVectorBytes == 0;
  };
  return (aligned(tensors) && ...);
}

/// Elements of T in one 16-byte access.
template <class T>
inline constexpr int kPerVector = static_cast<int>(kVectorBytes / static_cast<std::int64_t>(sizeof(T)));

/// `Count` neighbours in one access.
template <class T, int Count>
struct alignas(sizeof(T) * Count) Pack {
  T value[Count];
};
template <class T, int Count>
__device__ Pack<T, Count> load_pack(const T* from) {
  return *static_cast<const Pack<T, Count>*>(static_cast<const void*>(from));
}
template <class T, int Count>
__device__ void store_pack(T* to, const Pack<T, Count>& pack) {
  *static_cast<Pack<T, Count>*>(static_cast<void*>(to)) = pack;
}

/// `Count` neighbouring elements of a row, widened; a power of two.
template <int Count>
struct Group {
  float value[Count];
};

/// The first `left` elements (all of them when `left` >= Count), zeros behind them. `vectors`: `from` is aligned as a
/// vector of its row (vector_rows, at a multiple of Count elements).
template <int Count, class T>
__device__ Group<Count> load_group(const T* from, std::int64_t left, bool vectors) {
  Group<Count> group;
  if (vectors && left >= Count) {
    constexpr int kPack = Count < kPerVector<T> ? Count : kPerVector<T>;
    Pack<T, kPack> packs[Count / kPack];
#pragma unroll
    for (int p = 0; p < Count / kPack; ++p) packs[p] = load_pack<T, kPack>(from + p * kPack);
#pragma unroll
    for (int i = 0; i < Count; ++i) group.value[i] = to_float(packs[i / kPack].value[i % kPack]);
  } else {
#pragma unroll
    for (int i = 0; i < Count; ++i) group.value[i] = i < left ? to_float(from[i]) : 0.0F;
  }
  return group;
}
/// Rounds and writes the first `left` elements of the group.
template <int Count, class T>
__device__ void store_group(T* to, const Group<Count>& group, std::int64_t left, bool vectors) {
  if (vectors && left >= Count) {
    constexpr int kPack = Count < kPerVector<T> ? Count : kPerVector<T>;
#pragma unroll
    for (int p = 0; p < Count / kPack; ++p) {
      Pack<T, kPack> pack;
#pragma unroll
      for (int i = 0; i < kPack; ++i) pack.value[i] = from_float<T>(group.value[p * kPack + i]);
      store_pack<T, kPack>(to + p * kPack, pack);
    }
  } else {
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      if (i < left) to[i] = from_float<T>(group.value[i]);
    }
  }
}

/// A row from device memory into shared memory (16-byte aligned), by `threads` threads of which this is number
/// `thread`. Four loads are under way before the first is stored. The block has to meet before anyone reads it.
template <class T>
__device__ void stage_row(const T* from, T* to, std::int64_t width, bool vectors, int thread, int threads) {
  constexpr int kUnroll = 4;
  constexpr int kWide = kPerVector<T>;
  const std::int64_t whole = vectors ? width / kWide : 0;
  std::int64_t v = thread;
  for (; v + (kUnroll - 1) * threads < whole; v += kUnroll * threads) {
    Pack<T, kWide> packs[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) packs[u] = load_pack<T, kWide>(from + (v + u * threads) * kWide);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) store_pack<T, kWide>(to + (v + u * threads) * kWide, packs[u]);
  }
  for (; v < whole; v += threads) store_pack<T, kWide>(to + v * kWide, load_pack<T, kWide>(from + v * kWide));
  for (std::int64_t i = whole * kWide + thread; i < width; i += threads) to[i] = from[i];
}

/// Half of the 32 banks of shared memory.
inline constexpr std::int64_t kBankShift = 64;

/// Bytes from one staged row of `width` elements of T to the next: a multiple of 16, and half of the 32 banks off, so
/// that the two half-warps of a warp read their rows without conflict.
template <class T>
std::int64_t staged_row_bytes(std::int64_t width) {
  return round_up(width * static_cast<std::int64_t>(sizeof(T)), 2 * kBankShift) + kBankShift;
}

/// lane_tree of reduce.h over 16 neighbouring threads, the result in all of them: each adds its partner's value, and
/// additions commute. Every thread of the warp takes part.
template <class Scalar>
__device__ Scalar lane_tree_of_threads(Scalar lane) {
#pragma unroll
  for (int half = static_cast<int>(kRowLanes) / 2; half >= 1; half /= 2)
    lane = lane + __shfl_xor_sync(kWholeWarp, lane, half);
  return lane;
}

/// The sum of term(i) over [0, size) in the lane order, by the 16 threads of a half-warp together; the result in all of
/// them. Every thread of the warp takes part; the other half-warp has its own row, or a size of 0.
template <class Term>
__device__ float row_sum(std::int64_t size, const Term& term) {
  float sum = 0;
#pragma unroll 8
  for (std::int64_t i = threadIdx.x % kRowLanes; i < size; i += kRowLanes) sum = sum + term(i);
  return lane_tree_of_threads(sum);
}

/// total[i] += the sums of the row blocks in their order; sums is [blocks, width], contiguous, on the device. The
/// second half of every gain's gradient.
void add_block_sums(const float* sums, std::int64_t blocks, std::int64_t width, float* total, cudaStream_t stream);

}  // namespace baekji::cuda
