#include "kernels/cpu/cross_entropy.h"

#include <algorithm>
#include <limits>

#include "core/functions.h"
#include "kernels/check.h"
#include "kernels/cpu/row_lanes.h"
#include "kernels/reference/cross_entropy.h"

namespace baekji::cpu {
namespace {

// Which of equal or unordered (NaN) values wins is fixed by `>` alone, so lanes give what a fold gives.
float scale_and_max(float* logits, std::int64_t columns, float scale) {
  RowLanes largest = RowLanes{} - std::numeric_limits<float>::infinity();
  std::int64_t v = 0;
  for (; v + kRowLanes <= columns; v += kRowLanes) {
    const RowLanes scaled = load_row_lanes(logits + v) * scale;
    store_row_lanes(logits + v, scaled);
    largest = scaled > largest ? scaled : largest;
  }
  float result = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < kRowLanes; ++i) result = largest[i] > result ? largest[i] : result;
  for (; v < columns; ++v) {
    logits[v] = logits[v] * scale;
    result = logits[v] > result ? logits[v] : result;
  }
  return result;
}

// exp in blocks that stay in the first-level cache until they are added; a block is a multiple of the lanes.
float exp_and_sum(float* logits, std::int64_t columns, float largest) {
  constexpr std::int64_t kBlock = 1024;
  RowLanes lanes{};
  for (std::int64_t begin = 0; begin < columns; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, columns - begin);
    float* block = logits + begin;
    BAEKJI_INDEPENDENT
    for (std::int64_t i = 0; i < size; ++i) block[i] = exp_f32(block[i] - largest);
    std::int64_t i = 0;
    for (; i + kRowLanes <= size; i += kRowLanes) lanes += load_row_lanes(block + i);
    if (i < size) lanes += load_row_tail(block + i, size - i);
  }
  return lane_tree(lanes);
}

template <class T>
void gradient_row(const LogitsGradientArgs& args, std::int64_t n) {
  const float* e = row_of<float>(args.exp_NV, n);
  T* to = row_of<T>(args.dlogits_NV, n);
  const float sum = args.sum_N.as<float>()[n];
  const float scale = static_cast<float>(args.logit_scale);
  const std::int64_t target = args.target_N.as<std::int32_t>()[n] - args.first_row;
  const bool here = target >= 0 && target < args.columns;
  const float target_exp = here ? e[target] : 0.0F;  // read before the loop may overwrite it
  BAEKJI_INDEPENDENT
  for (std::int64_t v = 0; v < args.columns; ++v) to[v] = from_float<T>(e[v] / sum * scale);
  if (here) to[target] = from_float<T>((target_exp / sum - 1.0F) * scale);
  std::fill(to + args.columns, to + args.dlogits_NV.dim(1), from_float<T>(0.0F));
}

}  // namespace

void logits_max(const LogitsMaxArgs& args, ThreadPool& pool) {
  check_arguments(args);
  float* max = args.max_N.as<float>();
  const float scale = static_cast<float>(args.logit_scale);
  pool.for_ranges(args.logits_NV.dim(0), rows_per_task(args.columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const float largest = scale_and_max(row_of<float>(args.logits_NV, n), args.columns, scale);
      max[n] = (args.combine && !(largest > max[n]) ? max[n] : largest) + 0.0F;
    }
  });
}

void logits_exp_sum(const LogitsExpSumArgs& args, ThreadPool& pool) {
  check_arguments(args);
  const float* max = args.max_N.as<float>();
  float* sum = args.sum_N.as<float>();
  const std::int32_t* target = args.target_N.as<std::int32_t>();
  float* target_logit = args.target_logit_N.as<float>();
  pool.for_ranges(args.logits_NV.dim(0), rows_per_task(args.columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      float* logits = row_of<float>(args.logits_NV, n);
      const std::int64_t column = target[n] - args.first_row;
      if (column >= 0 && column < args.columns) target_logit[n] = logits[column] - max[n];
      sum[n] = exp_and_sum(logits, args.columns, max[n]);
    }
  });
}

void logits_gradient(const LogitsGradientArgs& args, ThreadPool& pool) {
  check_arguments(args);
  with_storage(args.dlogits_NV, "logits_gradient", [&]<class T>(std::type_identity<T>) {
    pool.for_ranges(args.exp_NV.dim(0), rows_per_task(args.columns), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) gradient_row<T>(args, n);
    });
  });
}

// One logarithm for each token against thousands of exponentials: the reference's own loop is as good as any.
void token_loss(const TokenLossArgs& args) {
  reference::token_loss<float>(args);
}

}  // namespace baekji::cpu
