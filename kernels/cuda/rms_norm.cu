// RMSNorm. A block has a few rows, a team of threads each: the team stages its row in shared memory with 16-byte loads,
// 16 of its threads add up along it in the contract's lanes, all of them write 16 bytes at a time. The lanes are a
// chain of width / 16 dependent additions (some 2,000 cycles at a width of 8,192), so a multiprocessor holds a handful
// of blocks, whose loads, chains and stores overlap.
//
// Bytes moved, per element: forward, x read and y written once. Backward, x and dy twice and dx once (old dx as well
// when accumulated): once for dgain, which folds down columns inside blocks of 64 rows, once for dx, which needs a sum
// along the row first. One pass over both would tie all columns of 64 rows to one multiprocessor, and leave most of
// them idle at the few thousand tokens that a rank has. dgain goes first, since dx may be dy itself, and downwards; dx
// comes back upwards, so that it finds the last rows, as far as the L2 cache reaches, still there.

#include "kernels/cuda/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/cuda/rows.cuh"

namespace baekji::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostRows = kThreads / static_cast<int>(kRowLanes);  // of a block: a half-warp for each at least

/// How the rows of a call are dealt out. Depends on width and types alone.
struct Plan {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  int rows_per_block = 1;
  bool staged = true;          ///< false: a row is wider than shared memory, and read from the device's again
  bool vectors = false;        ///< rows of device memory begin at multiples of 16 bytes
  std::int64_t row_bytes = 0;  ///< of a row's place in shared memory
};

Plan plan_rows(const Tensor& x_NC, std::int64_t row_bytes) {
  constexpr std::int64_t kBlockBytes = 40 << 10;    // five blocks or more on a multiprocessor
  constexpr std::int64_t kWidestBytes = 200 << 10;  // one block
  Plan plan{.rows = x_NC.dim(0), .width = x_NC.dim(1), .staged = row_bytes <= kWidestBytes, .row_bytes = row_bytes};
  if (!plan.staged) return plan;
  while (plan.rows_per_block < kMostRows && 2 * plan.rows_per_block * row_bytes <= kBlockBytes)
    plan.rows_per_block *= 2;
  return plan;
}

template <class Call>
void launch_rows(const Plan& plan, cudaStream_t stream, const char* name, void (*kernel)(Call), const Call& call) {
  const std::int64_t shared_bytes = plan.staged ? plan.rows_per_block * plan.row_bytes : 0;
  if (shared_bytes > (48 << 10)) allow_shared_bytes(kernel, shared_bytes, name);
  launch({.grid = blocks_for(plan.rows, plan.rows_per_block), .block = kThreads, .shared_bytes = shared_bytes}, stream,
         name, kernel, call);
}

/// This thread's place in its team, and the team's row.
struct Place {
  int team = 0;  ///< threads
  int slot = 0;  ///< of the row in the block
  int thread = 0;
  std::int64_t row = 0;
  bool works = false;  ///< false behind the last row

  __device__ Place(const Plan& plan, std::int64_t block) {
    team = kThreads / plan.rows_per_block;
    slot = static_cast<int>(threadIdx.x) / team;
    thread = static_cast<int>(threadIdx.x) % team;
    row = block * plan.rows_per_block + slot;
    works = row < plan.rows;
  }
  /// How much of a row this thread's half-warp adds up: the team's first one does it all.
  __device__ std::int64_t summed(std::int64_t width) const { return works && thread < kRowLanes ? width : 0; }
};

template <class X, class Y>
struct ForwardCall {
  Plan plan;
  Rows<X> x;
  const Y* gain;
  Rows<Y> y;
  float* rstd;
  float eps;
};

template <bool Staged, class X, class Y>
__global__ void __launch_bounds__(kThreads) forward(ForwardCall<X, Y> call) {
  __shared__ float row_rstd[kMostRows];
  const Plan& plan = call.plan;
  const std::int64_t width = plan.width;
  const Place place(plan, blockIdx.x);
  const X* x = place.works ? call.x[place.row] : nullptr;
  if constexpr (Staged) {
    X* const staged = static_cast<X*>(static_cast<void*>(dynamic_shared<std::byte>() + place.slot * plan.row_bytes));
    if (place.works) stage_row(x, staged, width, plan.vectors, place.thread, place.team);
    x = staged;
    __syncthreads();
  }
  const float sum = row_sum(place.summed(width), [x](std::int64_t i) {
    const float value = to_float(x[i]);
    return value * value;
  });
  if (place.works && place.thread == 0) {
    const float rstd = 1.0F / std::sqrt(sum / static_cast<float>(width) + call.eps);
    row_rstd[place.slot] = rstd;
    call.rstd[place.row] = rstd;
  }
  __syncthreads();
  if (!place.works) return;
  const float rstd = row_rstd[place.slot];
  constexpr int kGroup = kPerVector<Y>;
  Y* const y = call.y[place.row];
  for (std::int64_t i = std::int64_t{place.thread} * kGroup; i < width; i += std::int64_t{place.team} * kGroup) {
    const std::int64_t left = width - i;
    Group<kGroup> group = load_group<kGroup>(x + i, left, plan.vectors || Staged);
    const Group<kGroup> gain = load_group<kGroup>(call.gain + i, left, plan.vectors);
#pragma unroll
    for (int k = 0; k < kGroup; ++k) group.value[k] = group.value[k] * rstd * gain.value[k];
    store_group(y + i, group, left, plan.vectors);
  }
}

template <class X, class Y>
struct BackwardCall {
  Plan plan;
  Rows<X> x;
  const Y* gain;
  const float* rstd;
  Rows<Y> dy;
  Rows<X> dx;
  std::int64_t dy_offset;  ///< in bytes, of dy behind x in a row's place
  bool accumulate;
};

template <bool Staged, class X, class Y>
__global__ void __launch_bounds__(kThreads) backward_dx(BackwardCall<X, Y> call) {
  __shared__ float row_mean[kMostRows];
  const Plan& plan = call.plan;
  const std::int64_t width = plan.width;
  const Place place(plan, std::int64_t{gridDim.x} - 1 - blockIdx.x);
  const X* x = place.works ? call.x[place.row] : nullptr;
  const Y* dy = place.works ? call.dy[place.row] : nullptr;
  if constexpr (Staged) {
    std::byte* const at = dynamic_shared<std::byte>() + place.slot * plan.row_bytes;
    X* const staged_x = static_cast<X*>(static_cast<void*>(at));
    Y* const staged_dy = static_cast<Y*>(static_cast<void*>(at + call.dy_offset));
    if (place.works) {
      stage_row(x, staged_x, width, plan.vectors, place.thread, place.team);
      stage_row(dy, staged_dy, width, plan.vectors, place.thread, place.team);
    }
    x = staged_x;
    dy = staged_dy;
    __syncthreads();
  }
  const float rstd = place.works ? call.rstd[place.row] : 0.0F;
  const Y* const gains = call.gain;
  const float dot = row_sum(place.summed(width), [=](std::int64_t i) {
    return (to_float(dy[i]) * to_float(gains[i])) * (to_float(x[i]) * rstd);
  });
  if (place.works && place.thread == 0) row_mean[place.slot] = dot / static_cast<float>(width);
  __syncthreads();
  if (!place.works) return;
  const float mean = row_mean[place.slot];
  constexpr int kGroup = kPerVector<X>;
  const bool fast_reads = plan.vectors || Staged;
  X* const dx = call.dx[place.row];
  for (std::int64_t i = std::int64_t{place.thread} * kGroup; i < width; i += std::int64_t{place.team} * kGroup) {
    const std::int64_t left = width - i;
    const Group<kGroup> xs = load_group<kGroup>(x + i, left, fast_reads);
    const Group<kGroup> dys = load_group<kGroup>(dy + i, left, fast_reads);
    const Group<kGroup> gain = load_group<kGroup>(gains + i, left, plan.vectors);
    Group<kGroup> out{};
    if (call.accumulate) out = load_group<kGroup>(dx + i, left, plan.vectors);
#pragma unroll
    for (int k = 0; k < kGroup; ++k) {
      const float xhat = xs.value[k] * rstd;
      const float gradient = rstd * (dys.value[k] * gain.value[k] - xhat * mean);
      out.value[k] = call.accumulate ? out.value[k] + gradient : gradient;
    }
    store_group(dx + i, out, left, plan.vectors);
  }
}

template <class X, class Y>
struct GainCall {
  Rows<X> x;
  const float* rstd;
  Rows<Y> dy;
  float* sums;  ///< [row blocks, width]
  std::int64_t rows;
  std::int64_t width;
  unsigned parts;  ///< into which blocks of threads divide the columns
  bool vectors;
};

/// Columns of a thread of backward_dgain: vectors of 16 bytes of the wider type.
template <class X, class Y>
inline constexpr int kGainGroup = kPerVector<X> < kPerVector<Y> ? kPerVector<X> : kPerVector<Y>;
constexpr int kGainThreads = 64;  // small blocks: at 1,024 tokens there are still enough for every multiprocessor

/// The left fold of dy * xhat over rows [first, end), for the columns from `column` on.
template <bool Vectors, class X, class Y>
__device__ Group<kGainGroup<X, Y>> fold_rows(const GainCall<X, Y>& call, std::int64_t first, std::int64_t end,
                                             std::int64_t column) {
  constexpr int kGroup = kGainGroup<X, Y>;
  const std::int64_t left = Vectors ? kGroup : call.width - column;
  Group<kGroup> sum{};
#pragma unroll 8
  for (std::int64_t n = first; n < end; ++n) {
    const Group<kGroup> x = load_group<kGroup>(call.x[n] + column, left, Vectors);
    const Group<kGroup> dy = load_group<kGroup>(call.dy[n] + column, left, Vectors);
    const float rstd = call.rstd[n];
#pragma unroll
    for (int k = 0; k < kGroup; ++k) sum.value[k] = sum.value[k] + dy.value[k] * (x.value[k] * rstd);
  }
  return sum;
}

template <class X, class Y>
__global__ void __launch_bounds__(kGainThreads) backward_dgain(GainCall<X, Y> call) {
  constexpr int kGroup = kGainGroup<X, Y>;
  const std::int64_t block = blockIdx.x / call.parts;
  const std::int64_t column = (std::int64_t{blockIdx.x % call.parts} * kGainThreads + threadIdx.x) * kGroup;
  if (column >= call.width) return;
  const std::int64_t first = block * kRowBlock;
  const std::int64_t end = call.rows - first < kRowBlock ? call.rows : first + kRowBlock;
  const std::int64_t left = call.width - column;
  const Group<kGroup> sum = call.vectors && left >= kGroup ? fold_rows<true>(call, first, end, column)
                                                           : fold_rows<false>(call, first, end, column);
  store_group(call.sums + block * call.width + column, sum, left, call.width % kPerVector<float> == 0);
}

template <class X, class Y>
void gain_gradient(const RmsNormBackwardArgs& args, Queue& queue) {
  const std::int64_t rows = args.x_NC.dim(0);
  const std::int64_t width = args.x_NC.dim(1);
  const std::int64_t blocks = ceil_div(rows, kRowBlock);
  float* const sums = static_cast<float*>(queue.scratch(blocks * width * static_cast<std::int64_t>(sizeof(float))));
  const unsigned parts = blocks_for(width, std::int64_t{kGainThreads} * kGainGroup<X, Y>);
  const GainCall<X, Y> call{.x = rows_of<X>(args.x_NC),
                            .rstd = args.rstd_N.device_as<float>(),
                            .dy = rows_of<Y>(args.dy_NC),
                            .sums = sums,
                            .rows = rows,
                            .width = width,
                            .parts = parts,
                            .vectors = vector_rows(args.x_NC, args.dy_NC)};
  launch({.grid = narrow<unsigned>(blocks * parts), .block = kGainThreads}, queue.stream(), "rms_norm_backward",
         backward_dgain<X, Y>, call);
  add_block_sums(sums, blocks, width, args.dgain_C.device_as<float>(), queue.stream());
}

}  // namespace

void rms_norm_forward(const RmsNormForwardArgs& args, Queue& queue) {
  constexpr const char* kName = "rms_norm_forward";
  check_arguments(args);
  with_storage(args.x_NC, kName, [&]<class X>(std::type_identity<X>) {
    with_storage(args.y_NC, kName, [&]<class Y>(std::type_identity<Y>) {
      ForwardCall<X, Y> call{.plan = plan_rows(args.x_NC, staged_row_bytes<X>(args.x_NC.dim(1))),
                             .x = rows_of<X>(args.x_NC),
                             .gain = args.gain_C.device_as<Y>(),
                             .y = rows_of<Y>(args.y_NC),
                             .rstd = args.rstd_N.device_as<float>(),
                             .eps = static_cast<float>(args.eps)};
      call.plan.vectors = vector_rows(args.x_NC, args.gain_C, args.y_NC);
      launch_rows(call.plan, queue.stream(), kName, call.plan.staged ? forward<true, X, Y> : forward<false, X, Y>,
                  call);
    });
  });
}

void rms_norm_backward(const RmsNormBackwardArgs& args, Queue& queue) {
  constexpr const char* kName = "rms_norm_backward";
  check_arguments(args);
  if (args.x_NC.dim(0) == 0) return;
  with_storage(args.x_NC, kName, [&]<class X>(std::type_identity<X>) {
    with_storage(args.dy_NC, kName, [&]<class Y>(std::type_identity<Y>) {
      gain_gradient<X, Y>(args, queue);
      const std::int64_t width = args.x_NC.dim(1);
      // x without the half of the banks behind it that dy has: the two together are half of the banks off.
      const std::int64_t x_bytes = staged_row_bytes<X>(width) - kBankShift;
      BackwardCall<X, Y> call{.plan = plan_rows(args.x_NC, x_bytes + staged_row_bytes<Y>(width)),
                              .x = rows_of<X>(args.x_NC),
                              .gain = args.gain_C.device_as<Y>(),
                              .rstd = args.rstd_N.device_as<float>(),
                              .dy = rows_of<Y>(args.dy_NC),
                              .dx = rows_of<X>(args.dx_NC),
                              .dy_offset = x_bytes,
                              .accumulate = args.accumulate};
      call.plan.vectors = vector_rows(args.x_NC, args.gain_C, args.dy_NC, args.dx_NC);
      launch_rows(call.plan, queue.stream(), kName,
                  call.plan.staged ? backward_dx<true, X, Y> : backward_dx<false, X, Y>, call);
    });
  });
}

}  // namespace baekji::cuda
