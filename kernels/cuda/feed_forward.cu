#include "kernels/cuda/feed_forward.h"

#include "kernels/check.h"
#include "kernels/cuda/columns.cuh"
#include "kernels/reference/scalar.h"

namespace baekji::cuda {
namespace {

template <class T>
struct SwigluForward {
  Rows<const T> gate;
  Rows<const T> up;
  Rows<T> y;

  __device__ void operator()(std::int64_t row, std::int64_t column, auto extent) const {
    const Columns<T> gates = load_columns(gate[row] + column, extent);
    const Columns<T> ups = load_columns(up[row] + column, extent);
    float out[kGroup];
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const float g = gates[i];
      out[i] = g * reference::sigmoid_of(g) * ups[i];
    }
    store_floats(y[row] + column, out, extent);
  }
};

/// dgate and dup may be gate and up: a thread has read its columns before it writes them.
template <class T>
struct SwigluBackward {
  Rows<const T> gate;
  Rows<const T> up;
  Rows<const T> dy;
  Rows<T> dgate;
  Rows<T> dup;

  __device__ void operator()(std::int64_t row, std::int64_t column, auto extent) const {
    const Columns<T> gates = load_columns(gate[row] + column, extent);
    const Columns<T> ups = load_columns(up[row] + column, extent);
    const Columns<T> dys = load_columns(dy[row] + column, extent);
    float gate_out[kGroup];
    float up_out[kGroup];
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const float g = gates[i];
      const float d = dys[i];
      const float s = reference::sigmoid_of(g);
      gate_out[i] = d * ups[i] * (s * (1.0F + g * (1.0F - s)));
      up_out[i] = d * (g * s);
    }
    store_floats(dgate[row] + column, gate_out, extent);
    store_floats(dup[row] + column, up_out, extent);
  }
};

}  // namespace

void swiglu_forward(const SwigluForwardArgs& args, Queue& queue) {
  check_arguments(args);
  const bool aligned = vector_rows(args.gate_NF, args.up_NF, args.y_NF);
  with_storage(args.gate_NF, "swiglu_forward", [&]<class T>(std::type_identity<T>) {
    launch_groups(
        args.gate_NF.dim(0), args.gate_NF.dim(1), aligned, queue, "swiglu_forward",
        SwigluForward<T>{
            .gate = rows_of<const T>(args.gate_NF), .up = rows_of<const T>(args.up_NF), .y = rows_of<T>(args.y_NF)});
  });
}

void swiglu_backward(const SwigluBackwardArgs& args, Queue& queue) {
  check_arguments(args);
  const bool aligned = vector_rows(args.gate_NF, args.up_NF, args.dy_NF, args.dgate_NF, args.dup_NF);
  with_storage(args.gate_NF, "swiglu_backward", [&]<class T>(std::type_identity<T>) {
    launch_groups(args.gate_NF.dim(0), args.gate_NF.dim(1), aligned, queue, "swiglu_backward",
                  SwigluBackward<T>{.gate = rows_of<const T>(args.gate_NF),
                                    .up = rows_of<const T>(args.up_NF),
                                    .dy = rows_of<const T>(args.dy_NF),
                                    .dgate = rows_of<T>(args.dgate_NF),
                                    .dup = rows_of<T>(args.dup_NF)});
  });
}

}  // namespace baekji::cuda
