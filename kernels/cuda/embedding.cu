#include "kernels/cuda/embedding.h"

#include "kernels/check.h"
#include "kernels/cuda/columns.cuh"

namespace baekji::cuda {
namespace {

template <class T, class Y>
struct Lookup {
  const std::int32_t* token;
  Rows<const T> table;
  Rows<Y> y;
  std::int64_t first_row;
  std::int64_t table_rows;
  float scale;

  __device__ void operator()(std::int64_t n, std::int64_t column, auto extent) const {
    const std::int64_t row = token[n] - first_row;
    float values[kGroup] = {};
    if (row >= 0 && row < table_rows) {
      load_floats(table[row] + column, extent, values);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) values[i] = scale * values[i];
    }
    store_floats(y[n] + column, values, extent);
  }
};

// ---- which positions hold which token -------------------------------------------------------------------------------

// A key is a table row above a position: sorted keys have the positions of each row together and in index order. No two
// keys are equal, so the way of sorting does not show in the result.
using Key = std::uint64_t;
constexpr std::uint32_t kNoRow = 0xFFFFFFFF;  // of a token outside the table: sorted behind all rows
constexpr int kSortTile = 4096;               // keys that one block sorts: 32 KiB
constexpr unsigned kSortThreads = 512;
constexpr unsigned kMergeThreads = 128;

__device__ inline std::uint32_t row_of(Key key) {
  return static_cast<std::uint32_t>(key >> 32);
}
__device__ inline std::int64_t position_of(Key key) {
  return static_cast<std::int64_t>(key & 0xFFFFFFFF);
}

struct Tokens {
  const std::int32_t* token;
  std::int64_t count;
  std::int64_t first_row;
  std::int64_t table_rows;

  __device__ Key key(std::int64_t n) const {
    const std::int64_t row = token[n] - first_row;
    const bool inside = row >= 0 && row < table_rows;
    return static_cast<Key>(inside ? static_cast<std::uint32_t>(row) : kNoRow) << 32 | static_cast<Key>(n);
  }
};

// Bitonic sort (Batcher 1968, "Sorting networks and their applications") of kSortTile neighbouring positions, or of the
// power of two that holds all of them.
__global__ void __launch_bounds__(kSortThreads) sort_tiles(const Tokens tokens, Key* sorted) {
  __shared__ Key keys[kSortTile];
  const std::int64_t first = std::int64_t{blockIdx.x} * kSortTile;
  const std::int64_t left = tokens.count - first;
  int size = 1;
  while (size < kSortTile && size < left) size *= 2;
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < size; i += kSortThreads) keys[i] = i < left ? tokens.key(first + i) : ~Key{0};
  __syncthreads();
  for (int run = 2; run <= size; run *= 2) {
    for (int distance = run / 2; distance > 0; distance /= 2) {
      for (int pair = thread; pair < size / 2; pair += kSortThreads) {
        const int low = 2 * pair - (pair & (distance - 1));
        const int high = low + distance;
        const bool ascending = (low & run) == 0;
        const Key a = keys[low];
        const Key b = keys[high];
        if ((a > b) == ascending) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      __syncthreads();
    }
  }
  for (int i = thread; i < size && i < left; i += kSortThreads) sorted[first + i] = keys[i];
}

/// How many of [begin, end) of sorted keys are less than `key`.
__device__ inline std::int64_t keys_below(const Key* keys, std::int64_t begin, std::int64_t end, Key key) {
  const std::int64_t first = begin;
  while (begin < end) {
    const std::int64_t middle = begin + (end - begin) / 2;
    if (keys[middle] < key) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin - first;
}

// Merging by rank (Satish, Harris and Garland 2009, "Designing efficient sorting algorithms for manycore GPUs", section
// 5): a key's place in the whole is its place in its tile and the number of lesser keys in every other tile. For 65,536
// positions 15 searches of 12 steps for each key, in the second-level cache.
__global__ void __launch_bounds__(kMergeThreads) merge_tiles(const Key* tiles, Key* sorted, const std::int64_t count) {
  const std::int64_t at = std::int64_t{blockIdx.x} * kMergeThreads + threadIdx.x;
  if (at >= count) return;
  const Key key = tiles[at];
  std::int64_t place = at % kSortTile;
  for (std::int64_t first = 0; first < count; first += kSortTile) {
    if (first == at - at % kSortTile) continue;
    const std::int64_t end = first + kSortTile < count ? first + kSortTile : count;
    place += keys_below(tiles, first, end, key);
  }
  sorted[place] = key;
}

/// The sorted keys of all positions, in the queue's working memory.
const Key* sorted_keys(const Tokens& tokens, Queue& queue) {
  const std::int64_t tiles = ceil_div(tokens.count, kSortTile);
  auto* keys = static_cast<Key*>(queue.scratch(2 * tokens.count * static_cast<std::int64_t>(sizeof(Key))));
  launch({.grid = dim3(narrow<unsigned>(tiles)), .block = dim3(kSortThreads)}, queue.stream(), "embedding_backward",
         sort_tiles, tokens, keys);
  if (tiles == 1) return keys;
  launch({.grid = dim3(blocks_for(tokens.count, kMergeThreads)), .block = dim3(kMergeThreads)}, queue.stream(),
         "embedding_backward", merge_tiles, keys, keys + tokens.count, tokens.count);
  return keys + tokens.count;
}

// ---- one fold for each row ------------------------------------------------------------------------------------------

// A segment is the keys of one table row. Each element of the table takes its sum in one thread, in key order.
//
// Short segments (most tokens come once or a few times in a micro-batch): a thread for a group of columns, at the
// segment's first key; kRowsAhead rows of dy are on the way. Bytes: dy once, the table's rows that occur read and
// written once.
//
// Long ones (kLong keys and more: a token that has 10% of 65,536 positions has 6,554) would leave one block to fetch
// 27 MB row after row. They are cut into kLongColumns columns, so that 4,096 columns are 64 blocks; all threads of a
// block fetch the next kStep rows while two warps add the last ones out of shared memory. A step costs about 1,000
// cycles (128 dependent multiplications and additions; fetching key and row hides behind them), the 52 steps of this
// token about 30 us, and they run beside the short segments, whose dy alone takes 160 us on H100. Long blocks come
// first in the grid, so that they begin first.
constexpr int kRowsAhead = 4;
constexpr std::int64_t kLong = 256;
constexpr int kLongGroups = 8;
constexpr int kLongColumns = kLongGroups * kGroup;
constexpr int kSlots = static_cast<int>(kGroupThreads) / kLongGroups;  // rows that a block loads at once
constexpr int kStep = kSlots * kRowsAhead;

template <class T>
struct Fold {
  const Key* keys;
  std::int64_t count;
  Rows<const T> dy;
  Rows<float> table;
  std::int64_t width;
  float scale;
  bool aligned;

  __device__ bool has_row(std::int64_t at, std::uint32_t row) const {
    return at >= 0 && at < count && row_of(keys[at]) == row;
  }

  __device__ void fold_short(std::int64_t at, std::int64_t column, auto extent) const {
    const std::uint32_t row = row_of(keys[at]);
    if (row == kNoRow || has_row(at - 1, row) || has_row(at + kLong - 1, row)) return;
    float sums[kGroup];
    load_floats(static_cast<const float*>(table[row] + column), extent, sums);
    for (int found = kRowsAhead; found == kRowsAhead; at += kRowsAhead) {
      Columns<T> rows[kRowsAhead];
      found = 0;
#pragma unroll
      for (int r = 0; r < kRowsAhead; ++r) {
        const bool more = has_row(at + r, row);
        rows[r] = more ? load_columns(dy[position_of(keys[at + r])] + column, extent) : Columns<T>{};
        found += more ? 1 : 0;
      }
#pragma unroll
      for (int r = 0; r < kRowsAhead; ++r) {
        if (r >= found) continue;
#pragma unroll
        for (int i = 0; i < kGroup; ++i) sums[i] = sums[i] + scale * rows[r][i];
      }
    }
    store_floats(table[row] + column, sums, extent);
  }

  /// The first key of the long segment that the `index`-th multiple of kLong is the first to lie in, or -1.
  __device__ std::int64_t long_segment(std::int64_t index) const {
    const std::int64_t at = index * kLong;
    const std::uint32_t row = row_of(keys[at]);
    if (row == kNoRow || has_row(at - kLong, row)) return -1;
    const std::int64_t begin = at < kLong ? 0 : at - kLong;
    const std::int64_t first = begin + keys_below(keys, begin, at, static_cast<Key>(row) << 32);
    return has_row(first + kLong - 1, row) ? first : -1;
  }

  __device__ Columns<T> load_of_segment(std::int64_t at, std::int64_t end, std::int64_t column) const {
    if (at >= end || column >= width) return Columns<T>{};
    const T* from = dy[position_of(keys[at])] + column;
    const std::int64_t left = width - column;
    if (aligned && left >= kGroup) return load_columns(from, WholeGroup{});
    return load_columns(from, part_of_group(left));
  }

  /// All threads of a block, for columns [begin, begin + kLongColumns).
  __device__ void fold_long(std::int64_t first, std::int64_t begin, Columns<T> (&stage)[kStep][kLongGroups]) const {
    const std::uint32_t row = row_of(keys[first]);
    const std::int64_t end = first + keys_below(keys, first, count, (static_cast<Key>(row) + 1) << 32);
    const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    const int slot = thread / kLongGroups;
    const int group = thread % kLongGroups;
    const std::int64_t column = begin + thread;
    const bool adds = thread < kLongColumns && column < width;
    float sum = adds ? table[row][column] : 0.0F;
    Columns<T> next[kRowsAhead];
    const auto fetch = [&](std::int64_t at) {
#pragma unroll
      for (int r = 0; r < kRowsAhead; ++r) {
        next[r] = load_of_segment(at + r * kSlots + slot, end, begin + group * kGroup);
      }
    };
    fetch(first);
    for (std::int64_t at = first; at < end; at += kStep) {
#pragma unroll
      for (int r = 0; r < kRowsAhead; ++r) stage[r * kSlots + slot][group] = next[r];
      __syncthreads();
      fetch(at + kStep);
      const int rows = static_cast<int>(end - at < kStep ? end - at : kStep);
      if (adds) {
#pragma unroll 8
        for (int r = 0; r < rows; ++r) sum = sum + scale * stage[r][thread / kGroup][thread % kGroup];
      }
      __syncthreads();
    }
    if (adds) table[row][column] = sum;
  }
};

template <class T>
__global__ void __launch_bounds__(kGroupThreads)
    fold_rows(const __grid_constant__ Fold<T> fold, const unsigned long_blocks, const unsigned long_columns,
              const unsigned short_columns) {
  __shared__ Columns<T> stage[kStep][kLongGroups];
  if (blockIdx.x < long_blocks) {
    const std::int64_t first = fold.long_segment(blockIdx.x / long_columns);
    if (first >= 0) fold.fold_long(first, std::int64_t{blockIdx.x % long_columns} * kLongColumns, stage);
    return;
  }
  const unsigned block = blockIdx.x - long_blocks;
  const std::int64_t at = std::int64_t{block / short_columns} * blockDim.y + threadIdx.y;
  const std::int64_t column = (std::int64_t{block % short_columns} * blockDim.x + threadIdx.x) * kGroup;
  if (at >= fold.count || column >= fold.width) return;
  const std::int64_t left = fold.width - column;
  if (fold.aligned && left >= kGroup) {
    fold.fold_short(at, column, WholeGroup{});
  } else {
    fold.fold_short(at, column, part_of_group(left));
  }
}

template <class T>
void launch_fold(const Fold<T>& fold, Queue& queue) {
  const dim3 block = group_block(fold.width);
  const unsigned long_columns = blocks_for(fold.width, kLongColumns);
  const unsigned short_columns = blocks_for(fold.width, std::int64_t{block.x} * kGroup);
  const std::int64_t long_blocks = ceil_div(fold.count, kLong) * long_columns;
  const std::int64_t short_blocks = ceil_div(fold.count, block.y) * short_columns;
  launch({.grid = dim3(narrow<unsigned>(long_blocks + short_blocks)), .block = block}, queue.stream(),
         "embedding_backward", fold_rows<T>, fold, narrow<unsigned>(long_blocks), long_columns, short_columns);
}

}  // namespace

void embedding_forward(const EmbeddingForwardArgs& args, Queue& queue) {
  check_arguments(args);
  const bool aligned = vector_rows(args.table_VC, args.y_NC);
  with_storage(args.table_VC, "embedding_forward", [&]<class T>(std::type_identity<T>) {
    with_storage(args.y_NC, "embedding_forward", [&]<class Y>(std::type_identity<Y>) {
      launch_groups(args.y_NC.dim(0), args.y_NC.dim(1), aligned, queue, "embedding_forward",
                    Lookup<T, Y>{.token = args.token_N.device_as<std::int32_t>(),
                                 .table = rows_of<const T>(args.table_VC),
                                 .y = rows_of<Y>(args.y_NC),
                                 .first_row = args.first_row,
                                 .table_rows = args.table_VC.dim(0),
                                 .scale = static_cast<float>(args.scale)});
    });
  });
}

void embedding_backward(const EmbeddingBackwardArgs& args, Queue& queue) {
  check_arguments(args);
  const std::int64_t count = args.dy_NC.dim(0);
  if (args.dy_NC.size() == 0 || args.dtable_VC.dim(0) == 0) return;
  const Rows<float> table = rows_of<float>(args.dtable_VC);
  const Key* keys = sorted_keys({.token = args.token_N.device_as<std::int32_t>(),
                                 .count = count,
                                 .first_row = args.first_row,
                                 .table_rows = args.dtable_VC.dim(0)},
                                queue);
  with_storage(args.dy_NC, "embedding_backward", [&]<class T>(std::type_identity<T>) {
    launch_fold(Fold<T>{.keys = keys,
                        .count = count,
                        .dy = rows_of<const T>(args.dy_NC),
                        .table = table,
                        .width = args.dy_NC.dim(1),
                        .scale = static_cast<float>(args.scale),
                        .aligned = vector_rows(args.dy_NC, args.dtable_VC)},
                queue);
  });
}

}  // namespace baekji::cuda
