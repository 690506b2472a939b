#include "kernels/cuda/cross_entropy.h"

#include <limits>

#include "kernels/check.h"
#include "kernels/cuda/columns.cuh"
#include "kernels/reference/scalar.h"

namespace baekji::cuda {
namespace {

constexpr unsigned kWarp = 32;
constexpr int kAhead = 4;  // 16-byte loads that a thread has on the way
constexpr int kFour = kPerVector<float>;
using Four = Pack<float, kFour>;

__device__ inline float larger(float candidate, float largest) {
  return candidate > largest ? candidate : largest;  // a NaN never wins, as in the reference
}

// ---- the row maximum ------------------------------------------------------------------------------------------------

constexpr unsigned kMaxThreads = 256;

/// One block a row; a maximum may be taken in any order. Reads 4 bytes a column, and writes them where scale is not 1
/// (x * 1 is x). A multiprocessor holds 8 blocks x 256 threads x 64 bytes on the way: three times what B200 needs
/// (columns.cuh).
struct MaxRows {
  Rows<float> logits;
  float* max;
  std::int64_t columns;
  float scale;
  bool combine;
  bool aligned;

  __device__ void scale_four(Four& four, float* at, float& largest) const {
#pragma unroll
    for (float& value : four.value) {
      value = value * scale;
      largest = larger(value, largest);
    }
    if (scale != 1.0F) store_pack(at, four);
  }
  __device__ float thread_max(float* row) const {
    float largest = -std::numeric_limits<float>::infinity();
    const std::int64_t vectors = aligned ? columns / kFour : 0;
    for (std::int64_t v = threadIdx.x; v < vectors; v += kAhead * kMaxThreads) {
      Four fours[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const std::int64_t at = v + a * kMaxThreads;
        if (at < vectors) fours[a] = load_pack<float, kFour>(row + at * kFour);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const std::int64_t at = v + a * kMaxThreads;
        if (at < vectors) scale_four(fours[a], row + at * kFour, largest);
      }
    }
    for (std::int64_t c = vectors * kFour + threadIdx.x; c < columns; c += kMaxThreads) {
      const float value = row[c] * scale;
      if (scale != 1.0F) row[c] = value;
      largest = larger(value, largest);
    }
    return largest;
  }
};

__global__ void __launch_bounds__(kMaxThreads) max_rows(const __grid_constant__ MaxRows task) {
  __shared__ float warps[kMaxThreads / kWarp];
  const std::int64_t n = blockIdx.x;
  float largest = task.thread_max(task.logits[n]);
  for (int bits = kWarp / 2; bits > 0; bits /= 2) largest = larger(__shfl_xor_sync(kWholeWarp, largest, bits), largest);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = largest;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (const float other : warps) largest = larger(other, largest);
  const float before = task.max[n];
  // + 0: one zero, whichever of -0 and +0 came first.
  task.max[n] = (task.combine && !(largest > before) ? before : largest) + 0.0F;
}

// ---- exponentials and their sum -------------------------------------------------------------------------------------

// The sum's order is serial within each of 16 lanes, so one warp does nothing but add, out of shared memory, what eight
// others have just made, a tile behind them. One block a row. Bytes: 4 read and 4 written a column, once.
//
// What has to be hidden. A step (16 additions, one a lane) depends on the one before: about 5 cycles with its load from
// shared memory, V / 16 steps: 0.31 V cycles a row. A row's share of memory is 8 V bytes at 3.35 TB/s / 132 / 1.75 GHz
// = 14.5 bytes a cycle and multiprocessor on H100, 0.55 V cycles, and at 8 TB/s / 148 / 1.85 GHz = 29 on B200, 0.27 V
// cycles. With three rows on a multiprocessor, three chains run side by side: additions need a fifth to two fifths of
// the time that memory needs. Exponentials: 20 instructions for a column against the 70 (35) that 128 lanes have while
// its 8 bytes pass. On the way: 3 blocks x 256 threads x 64 bytes = 48 KiB (columns.cuh: 20 and 43 KiB are needed).
constexpr unsigned kExpThreads = 256;
constexpr int kTile = static_cast<int>(kExpThreads) * kAhead * kFour;
constexpr unsigned kExpBlocks = 3;  // a multiprocessor: 96 KiB of tiles
static_assert(kTile % kRowLanes == 0, "a tile begins at lane 0");

struct ExpSumRows {
  Rows<float> logits;
  const float* max;
  float* sum;
  const std::int32_t* target;
  float* target_logit;
  std::int64_t columns;
  std::int64_t first_row;
  bool aligned;

  // Column of vector `a` of this thread, from the beginning of its tile.
  static __device__ int column_of(int a) {
    return (a * static_cast<int>(kExpThreads) + static_cast<int>(threadIdx.x)) * kFour;
  }

  __device__ Four load(const float* row, std::int64_t column) const {
    Four four{};
    if (aligned && column + kFour <= columns) return load_pack<float, kFour>(row + column);
#pragma unroll
    for (int i = 0; i < kFour; ++i) four.value[i] = column + i < columns ? row[column + i] : 0.0F;
    return four;
  }
  // The exponentials to their place in the row; returns them, zero beyond the row: adding that changes no lane, as
  // lanes begin at +0.
  __device__ Four exponentials(Four four, float largest, float* row, std::int64_t column) const {
    if (column + kFour <= columns) {
#pragma unroll
      for (float& value : four.value) value = exp_f32(value - largest);
      if (aligned) {
        store_pack(row + column, four);
        return four;
      }
    }
#pragma unroll
    for (int i = 0; i < kFour; ++i) {
      const bool inside = column + i < columns;
      if (column + kFour > columns) four.value[i] = inside ? exp_f32(four.value[i] - largest) : 0.0F;
      if (inside) row[column + i] = four.value[i];
    }
    return four;
  }
};

__global__ void __launch_bounds__(kExpThreads + kWarp, kExpBlocks)
    exp_sum_rows(const __grid_constant__ ExpSumRows task) {
  alignas(16) __shared__ float tiles[2][kTile];
  const std::int64_t n = blockIdx.x;
  float* const row = task.logits[n];
  const float largest = task.max[n];
  const std::int64_t count = (task.columns + kTile - 1) / kTile;
  const bool adds = threadIdx.x >= kExpThreads;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  Four next[kAhead];
  if (!adds) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) next[a] = task.load(row, ExpSumRows::column_of(a));
  } else if (lane == 0) {
    const std::int64_t column = task.target[n] - task.first_row;
    if (column >= 0 && column < task.columns) task.target_logit[n] = row[column] - largest;
  }
  __syncthreads();  // the target's logit has been read: from here on the row is overwritten
  float sum = 0.0F;
  // Turn t makes tile t and adds tile t - 1; the barrier gives the first over to the adding warp, the second back.
  for (std::int64_t t = 0; t <= count; ++t) {
    if (!adds && t < count) {
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const Four logits = next[a];
        const int column = ExpSumRows::column_of(a);
        if (t + 1 < count) next[a] = task.load(row, (t + 1) * kTile + column);
        store_pack(&tiles[t % 2][column], task.exponentials(logits, largest, row, t * kTile + column));
      }
    }
    if (adds && t > 0 && lane < kRowLanes) {
      const std::int64_t left = task.columns - (t - 1) * kTile;
      const int steps = static_cast<int>((left < kTile ? left : kTile) + kRowLanes - 1) / static_cast<int>(kRowLanes);
      const float* tile = tiles[(t - 1) % 2] + lane;
#pragma unroll 16
      for (int s = 0; s < steps; ++s) sum = sum + tile[s * kRowLanes];
    }
    __syncthreads();
  }
  if (!adds) return;
  sum = lane_tree_of_threads(sum);
  if (lane == 0) task.sum[n] = sum;
}

// ---- gradient and losses --------------------------------------------------------------------------------------------

template <class T>
struct Gradient {
  Rows<const float> exp;
  const float* sum;
  const std::int32_t* target;
  Rows<T> dlogits;
  std::int64_t columns;
  std::int64_t first_row;
  float scale;

  __device__ void operator()(std::int64_t row, std::int64_t column, auto extent) const {
    const std::int64_t at = target[row] - first_row - column;  // the target among this thread's columns
    const float total = sum[row];
    float values[kGroup];
    load_floats(exp[row] + column, extent, values);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const float gradient = (values[i] / total - (at == i ? 1.0F : 0.0F)) * scale;
      values[i] = column + i < columns ? gradient : 0.0F;
    }
    store_floats(dlogits[row] + column, values, extent);
  }
};

constexpr unsigned kLossThreads = 128;

__global__ void token_losses(const float* sum, const float* target_logit, float* loss, const std::int64_t count) {
  const std::int64_t n = std::int64_t{blockIdx.x} * kLossThreads + threadIdx.x;
  if (n < count) loss[n] = reference::log_of(sum[n]) - target_logit[n];
}

// One warp a sequence. Its lanes load 32 neighbouring losses each time, the next 128 while these are added; every lane
// adds all of them in position order, which takes no longer than one lane alone. About 10 cycles a loss.
__global__ void sequence_losses(const float* loss, double* sum, const std::int64_t length) {
  const float* from = loss + blockIdx.x * length;
  const auto load = [&](std::int64_t t) { return t < length ? from[t] : 0.0F; };  // adding +0 changes no sum from +0
  float next[kAhead];
#pragma unroll
  for (int a = 0; a < kAhead; ++a) next[a] = load(a * kWarp + threadIdx.x);
  double total = 0;
  for (std::int64_t begin = 0; begin < length; begin += kAhead * kWarp) {
    float now[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      now[a] = next[a];
      next[a] = load(begin + (kAhead + a) * kWarp + threadIdx.x);
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
#pragma unroll
      for (int from_lane = 0; from_lane < static_cast<int>(kWarp); ++from_lane) {
        total = total + static_cast<double>(__shfl_sync(kWholeWarp, now[a], from_lane));
      }
    }
  }
  if (threadIdx.x == 0) sum[blockIdx.x] = total;
}

}  // namespace

void logits_max(const LogitsMaxArgs& args, Queue& queue) {
  check_arguments(args);
  const MaxRows task{.logits = rows_of<float>(args.logits_NV),
                     .max = args.max_N.device_as<float>(),
                     .columns = args.columns,
                     .scale = static_cast<float>(args.logit_scale),
                     .combine = args.combine,
                     .aligned = vector_rows(args.logits_NV)};
  launch({.grid = dim3(narrow<unsigned>(args.logits_NV.dim(0))), .block = dim3(kMaxThreads)}, queue.stream(),
         "logits_max", max_rows, task);
}

void logits_exp_sum(const LogitsExpSumArgs& args, Queue& queue) {
  check_arguments(args);
  const ExpSumRows task{.logits = rows_of<float>(args.logits_NV),
                        .max = args.max_N.device_as<float>(),
                        .sum = args.sum_N.device_as<float>(),
                        .target = args.target_N.device_as<std::int32_t>(),
                        .target_logit = args.target_logit_N.device_as<float>(),
                        .columns = args.columns,
                        .first_row = args.first_row,
                        .aligned = vector_rows(args.logits_NV)};
  launch({.grid = dim3(narrow<unsigned>(args.logits_NV.dim(0))), .block = dim3(kExpThreads + kWarp)}, queue.stream(),
         "logits_exp_sum", exp_sum_rows, task);
}

void logits_gradient(const LogitsGradientArgs& args, Queue& queue) {
  check_arguments(args);
  const bool aligned = vector_rows(args.exp_NV, args.dlogits_NV);
  with_storage(args.dlogits_NV, "logits_gradient", [&]<class T>(std::type_identity<T>) {
    launch_groups(args.dlogits_NV.dim(0), args.dlogits_NV.dim(1), aligned, queue, "logits_gradient",
                  Gradient<T>{.exp = rows_of<const float>(args.exp_NV),
                              .sum = args.sum_N.device_as<float>(),
                              .target = args.target_N.device_as<std::int32_t>(),
                              .dlogits = rows_of<T>(args.dlogits_NV),
                              .columns = args.columns,
                              .first_row = args.first_row,
                              .scale = static_cast<float>(args.logit_scale)});
  });
}

void token_loss(const TokenLossArgs& args, Queue& queue) {
  check_arguments(args);
  const std::int64_t count = args.sum_N.dim(0);
  launch({.grid = dim3(blocks_for(count, kLossThreads)), .block = dim3(kLossThreads)}, queue.stream(), "token_loss",
         token_losses, args.sum_N.device_as<float>(), args.target_logit_N.device_as<float>(),
         args.loss_N.device_as<float>(), count);
}

void sequence_loss(const SequenceLossArgs& args, Queue& queue) {
  check_arguments(args);
  launch({.grid = dim3(narrow<unsigned>(args.loss_BT.dim(0))), .block = dim3(kWarp)}, queue.stream(), "sequence_loss",
         sequence_losses, args.loss_BT.device_as<float>(), args.sum_B.device_as<double>(), args.loss_BT.dim(1));
}

}  // namespace baekji::cuda
