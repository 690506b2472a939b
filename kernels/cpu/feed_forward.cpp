#include "kernels/cpu/feed_forward.h"

#include <algorithm>
#include <cmath>

#include "core/functions.h"
#include "kernels/check.h"
#include "kernels/cpu/row_lanes.h"

namespace baekji::cpu {
namespace {

inline float sigmoid(float x) {
  const float e = exp_f32(-std::fabs(x));
  return (x < 0.0F ? e : 1.0F) / (1.0F + e);
}

template <class T>
void swiglu_forward_row(const T* gate, const T* up, T* y, std::int64_t width) {
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < width; ++i) {
    const float g = to_float(gate[i]);
    y[i] = from_float<T>(g * sigmoid(g) * to_float(up[i]));
  }
}

/// One row of each tensor; dgate and dup may be gate and up.
template <class T>
struct SwigluRow {
  const T* gate;
  const T* up;
  const T* dy;
  T* dgate;
  T* dup;
};
template <class T>
void swiglu_backward_row(SwigluRow<T> row, std::int64_t width) {
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < width; ++i) {
    const float g = to_float(row.gate[i]);
    const float u = to_float(row.up[i]);
    const float d = to_float(row.dy[i]);
    const float s = sigmoid(g);
    row.dgate[i] = from_float<T>(d * u * (s * (1.0F + g * (1.0F - s))));
    row.dup[i] = from_float<T>(d * (g * s));
  }
}

}  // namespace

void swiglu_forward(const SwigluForwardArgs& args, ThreadPool& pool) {
  check_arguments(args);
  const std::int64_t width = args.gate_NF.dim(1);
  with_storage(args.gate_NF, "swiglu_forward", [&]<class T>(std::type_identity<T>) {
    pool.for_ranges(args.gate_NF.dim(0), rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        swiglu_forward_row(row_of<T>(args.gate_NF, n), row_of<T>(args.up_NF, n), row_of<T>(args.y_NF, n), width);
      }
    });
  });
}

void swiglu_backward(const SwigluBackwardArgs& args, ThreadPool& pool) {
  check_arguments(args);
  const std::int64_t width = args.gate_NF.dim(1);
  with_storage(args.gate_NF, "swiglu_backward", [&]<class T>(std::type_identity<T>) {
    pool.for_ranges(args.gate_NF.dim(0), rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        swiglu_backward_row(SwigluRow<T>{.gate = row_of<T>(args.gate_NF, n),
                                         .up = row_of<T>(args.up_NF, n),
                                         .dy = row_of<T>(args.dy_NF, n),
                                         .dgate = row_of<T>(args.dgate_NF, n),
                                         .dup = row_of<T>(args.dup_NF, n)},
                            width);
      }
    });
  });
}

namespace {

template <class T, class Y>
void embedding_row(const T* from, Y* to, float scale, std::int64_t width) {
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < width; ++i) to[i] = from_float<Y>(scale * to_float(from[i]));
}

template <class T, class Y>
void embedding_forward_rows(const EmbeddingForwardArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = args.table_VC.dim(1);
  const std::int32_t* token = args.token_N.as<std::int32_t>();
  for (std::int64_t n = begin; n < end; ++n) {
    const std::int64_t row = token[n] - args.first_row;
    Y* y = row_of<Y>(args.y_NC, n);
    if (row >= 0 && row < args.table_VC.dim(0)) {
      embedding_row(static_cast<const T*>(row_of<T>(args.table_VC, row)), y, static_cast<float>(args.scale), width);
    } else {
      std::fill(y, y + width, from_float<Y>(0.0F));
    }
  }
}

template <class Y>
void embedding_backward_columns(const EmbeddingBackwardArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int32_t* token = args.token_N.as<std::int32_t>();
  const float scale = static_cast<float>(args.scale);
  for (std::int64_t n = 0; n < args.dy_NC.dim(0); ++n) {
    const std::int64_t row = token[n] - args.first_row;
    if (row < 0 || row >= args.dtable_VC.dim(0)) continue;
    const Y* dy = row_of<Y>(args.dy_NC, n);
    float* to = row_of<float>(args.dtable_VC, row);
    BAEKJI_INDEPENDENT
    for (std::int64_t i = begin; i < end; ++i) to[i] = to[i] + scale * to_float(dy[i]);
  }
}

}  // namespace

void embedding_forward(const EmbeddingForwardArgs& args, ThreadPool& pool) {
  check_arguments(args);
  with_storage(args.table_VC, "embedding_forward", [&]<class T>(std::type_identity<T>) {
    with_storage(args.y_NC, "embedding_forward", [&]<class Y>(std::type_identity<Y>) {
      pool.for_ranges(args.y_NC.dim(0), rows_per_task(args.y_NC.dim(1)),
                      [&](std::int64_t begin, std::int64_t end) { embedding_forward_rows<T, Y>(args, begin, end); });
    });
  });
}

void embedding_backward(const EmbeddingBackwardArgs& args, ThreadPool& pool) {
  check_arguments(args);
  // Sixteen ranges of whole cache lines: enough for the threads, long enough for the memory.
  const std::int64_t columns = round_up(ceil_div(std::max<std::int64_t>(args.dy_NC.dim(1), 1), 16), 64);
  with_storage(args.dy_NC, "embedding_backward", [&]<class Y>(std::type_identity<Y>) {
    pool.for_ranges(args.dy_NC.dim(1), columns,
                    [&](std::int64_t begin, std::int64_t end) { embedding_backward_columns<Y>(args, begin, end); });
  });
}

}  // namespace baekji::cpu
