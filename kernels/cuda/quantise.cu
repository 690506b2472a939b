// Maximum and conversion of 8-bit operands. Both are bound by memory by count (not timed on a GPU): 2 bytes read for
// the maximum of a bf16 element; 2 read and 1 or 2 written for its code. The conversion is Float8's integer arithmetic,
// some 20 instructions, where memory leaves room for about 30; the GPU has an instruction for two elements, which would
// be for the day on which measurements ask for it.

#include "kernels/cuda/quantise.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/check.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/reference/quantise.h"

namespace baekji::cuda {
namespace {

constexpr int kGroup = 8;  // neighbours that a thread reads at once: 16 bytes of bf16, twice 16 of fp32
constexpr unsigned kThreads = 256;

using reference::magnitude_bits;
using reference::magnitude_of;

// Magnitudes as integers have the order of floats, NaN above all: an integer maximum is exact, in any order. NaNs
// become one before they meet.
__device__ std::uint32_t merged_bits(std::uint32_t bits) {
  return std::bit_cast<std::uint32_t>(magnitude_of(bits));
}

__global__ void begin_maximum(std::uint32_t* max, const bool combine) {
  *max = combine ? merged_bits(*max & 0x7FFFFFFFU) : 0U;
}

/// Rows of a matrix; the last may be shorter.
struct Extents {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::int64_t last_width = 0;

  /// Threads of a block along a row, a power of two; the others take further rows.
  unsigned across() const {
    return static_cast<unsigned>(std::bit_ceil(
        static_cast<std::uint64_t>(std::clamp<std::int64_t>(ceil_div(width, kGroup), 1, std::int64_t{kThreads}))));
  }
};
/// Dense rows are one long row, cut where it suits.
Extents extents_of(const Tensor& in) {
  constexpr std::int64_t kPiece = std::int64_t{kThreads} * kGroup * 4;
  if (!in.contiguous() || in.size() == 0) return {in.dim(0), in.dim(1), in.dim(1)};
  const std::int64_t pieces = ceil_div(in.size(), kPiece);
  return {pieces, kPiece, in.size() - (pieces - 1) * kPiece};
}

// Rows in turns; 2,048 blocks fill every GPU, and leave few atomic operations.
constexpr std::int64_t kMostBlocks = 2048;
template <class T>
__global__ void __launch_bounds__(kThreads)
    find_maximum(const Rows<T> in, const Extents extents, const bool aligned, std::uint32_t* max) {
  std::uint32_t largest = 0;
  const std::int64_t turn = std::int64_t{gridDim.x} * blockDim.y;
  for (std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y; row < extents.rows; row += turn) {
    const std::int64_t width = row + 1 < extents.rows ? extents.width : extents.last_width;
    for (std::int64_t column = std::int64_t{threadIdx.x} * kGroup; column < width;
         column += std::int64_t{blockDim.x} * kGroup) {
      const T* from = in[row] + column;
      const Group<kGroup> group = load_group<kGroup>(from, width - column, aligned);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) largest = std::max(largest, magnitude_bits(group.value[i]));
    }
  }
#pragma unroll
  for (int bits = 16; bits >= 1; bits /= 2) largest = std::max(largest, __shfl_xor_sync(kWholeWarp, largest, bits));
  if ((threadIdx.y * blockDim.x + threadIdx.x) % 32 == 0 && largest > 0) atomicMax(max, merged_bits(largest));
}

// A block turns a tile of 128 x 128 elements into codes, row-major and transposed, with lines of 128 bytes both ways. A
// thread takes 4 rows of 16 columns: each row's codes are 16 bytes of the row-major result, and the 4 codes of a column
// are one word of the transposed tile in shared memory.
constexpr std::int64_t kTile = 128;
constexpr int kTileColumns = 16;
constexpr int kTileRows = 4;
constexpr unsigned kTileThreads = 256;
constexpr unsigned kAcross = static_cast<unsigned>(kTile) / kTileColumns;  // threads side by side
constexpr unsigned kTileWords = static_cast<unsigned>(kTile) / kTileRows;  // of a transposed row
static_assert(kTileThreads == kAcross * kTileWords);

/// 16 codes.
struct alignas(16) Codes {
  std::uint32_t words[4];
};

/// Where word `word` of transposed row `column` lies. Rows have 32 words, one for each bank; exchanging words by column
/// group spreads both the writers (8 column groups x 4 words) and the readers (8 x 16 bytes of a row) over all banks.
__device__ unsigned tile_word(unsigned column, unsigned word) {
  return column * kTileWords + (word ^ (column / kTileColumns * 4));
}

template <class From, class To>
struct Quantise {
  Rows<From> in;
  const float* max = nullptr;
  Rows<To> out;         ///< data is null: not wanted
  Rows<To> transposed;  ///< data is null: not wanted
  float* scale = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  bool in_aligned = false;  ///< rows begin on 16 bytes
  bool out_aligned = false;
  bool transposed_aligned = false;

  __device__ Codes codes(std::int64_t row, std::int64_t column, float inverse) const {
    Codes result{};
#pragma unroll
    for (int half = 0; half < kTileColumns / kGroup; ++half) {
      const std::int64_t first = column + half * kGroup;
      const std::int64_t left = row < rows ? columns - first : 0;
      const From* from = in[row] + first;
      const Group<kGroup> group = load_group<kGroup>(from, left, in_aligned);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        const std::uint32_t code = reference::quantise_value<To>(group.value[i], inverse).bits;
        result.words[(half * kGroup + i) / 4] |= code << (i % 4 * 8);
      }
    }
    return result;
  }
};

/// The first `count` codes; all 16 in one store where that is possible.
template <class To>
__device__ void store_codes(const Codes& codes, To* to, std::int64_t count, bool aligned) {
  if (aligned && count >= kTileColumns) {
    *static_cast<Codes*>(static_cast<void*>(to)) = codes;
    return;
  }
#pragma unroll
  for (int i = 0; i < kTileColumns; ++i) {
    if (i < count) to[i].bits = static_cast<std::uint8_t>(codes.words[i / 4] >> (i % 4 * 8));
  }
}

template <class From, class To>
__global__ void __launch_bounds__(kTileThreads) quantise_tiles(const __grid_constant__ Quantise<From, To> q) {
  alignas(16) __shared__ std::uint32_t tile[kTile * kTileWords];
  const reference::QuantiseScale scale = reference::quantise_scale(*q.max, To::largest());
  if (blockIdx.x == 0 && threadIdx.x == 0) *q.scale = scale.scale;
  const std::int64_t across = ceil_div(q.columns, kTile);
  if (across == 0 || q.rows == 0) return;
  const std::int64_t tile_row = blockIdx.x / across * kTile;
  const std::int64_t tile_column = blockIdx.x % across * kTile;
  const unsigned side = threadIdx.x % kAcross;
  const unsigned word = threadIdx.x / kAcross;
  const std::int64_t column = tile_column + side * kTileColumns;
  std::uint32_t down[kTileColumns] = {};
#pragma unroll
  for (int r = 0; r < kTileRows; ++r) {
    const std::int64_t row = tile_row + word * kTileRows + r;
    const Codes codes = q.codes(row, column, scale.inverse);
    if (q.out.data != nullptr && row < q.rows) {
      store_codes(codes, q.out[row] + column, q.columns - column, q.out_aligned);
    }
#pragma unroll
    for (int i = 0; i < kTileColumns; ++i) down[i] |= (codes.words[i / 4] >> (i % 4 * 8) & 0xFFU) << (r * 8);
  }
  if (q.transposed.data == nullptr) return;
#pragma unroll
  for (unsigned i = 0; i < kTileColumns; ++i) tile[tile_word(side * kTileColumns + i, word)] = down[i];
  __syncthreads();
  const std::int64_t row = tile_row + side * kTileColumns;
#pragma unroll
  for (unsigned turn = 0; turn < kTile * kAcross / kTileThreads; ++turn) {
    const unsigned c = threadIdx.x / kAcross + turn * (kTileThreads / kAcross);
    if (tile_column + c >= q.columns) continue;
    const Codes codes = *static_cast<const Codes*>(static_cast<const void*>(tile + tile_word(c, side * 4)));
    store_codes(codes, q.transposed[tile_column + c] + row, q.rows - row, q.transposed_aligned);
  }
}

template <class T>
Rows<T> rows_or_none(const Tensor& tensor) {
  return tensor.defined() ? rows_of<T>(tensor) : Rows<T>{};
}

}  // namespace

void absolute_max(const AbsoluteMaxArgs& args, Queue& queue) {
  check_arguments(args);
  auto* max = static_cast<std::uint32_t*>(static_cast<void*>(args.max.device_as<float>()));
  with_storage(args.in, "absolute_max", [&]<class T>(std::type_identity<T>) {
    launch({.grid = dim3(1), .block = dim3(1)}, queue.stream(), "absolute_max", begin_maximum, max, args.combine);
    const Extents extents = extents_of(args.in);
    Rows<T> in = rows_of<T>(args.in);
    if (args.in.contiguous()) in.stride = extents.width;
    const bool aligned = vector_rows(args.in.contiguous() ? args.in.view({args.in.size()}) : args.in);
    const dim3 block(extents.across(), kThreads / extents.across());
    launch({.grid = dim3(narrow<unsigned>(std::min(ceil_div(extents.rows, block.y), kMostBlocks))), .block = block},
           queue.stream(), "absolute_max", find_maximum<T>, in, extents, aligned, max);
  });
}

void quantise(const QuantiseArgs& args, Queue& queue) {
  check_arguments(args);
  with_storage(args.in_NC, "quantise", [&]<class From>(std::type_identity<From>) {
    reference::with_float8(reference::quantised_type(args), "quantise", [&]<class To>(std::type_identity<To>) {
      const Quantise<From, To> q{.in = rows_of<From>(args.in_NC),
                                 .max = args.max.device_as<float>(),
                                 .out = rows_or_none<To>(args.out_NC),
                                 .transposed = rows_or_none<To>(args.transposed_CN),
                                 .scale = args.scale.device_as<float>(),
                                 .rows = args.in_NC.dim(0),
                                 .columns = args.in_NC.dim(1),
                                 .in_aligned = vector_rows(args.in_NC),
                                 .out_aligned = vector_rows(args.out_NC),
                                 .transposed_aligned = vector_rows(args.transposed_CN)};
      // An empty matrix has a scale too.
      const std::int64_t tiles = std::max<std::int64_t>(ceil_div(q.rows, kTile) * ceil_div(q.columns, kTile), 1);
      launch({.grid = dim3(narrow<unsigned>(tiles)), .block = dim3(kTileThreads)}, queue.stream(), "quantise",
             quantise_tiles<From, To>, q);
    });
  });
}

}  // namespace baekji::cuda
