#pragma once
// Reference SwiGLU and embedding.

#include <vector>

#include "kernels/check.h"
#include "kernels/reference/scalar.h"

namespace baekji::reference {

template <class Scalar>
void swiglu_forward(const SwigluForwardArgs& args) {
  check_arguments(args);
  const std::int64_t width = args.gate_NF.dim(1);
  for (std::int64_t n = 0; n < args.gate_NF.dim(0); ++n) {
    std::vector<Scalar> gate = read_row<Scalar>(args.gate_NF, n * args.gate_NF.stride(0), width);
    const std::vector<Scalar> up = read_row<Scalar>(args.up_NF, n * args.up_NF.stride(0), width);
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] * sigmoid_of(gate[i]) * up[i];
    write_row(args.y_NF, n * args.y_NF.stride(0), gate);
  }
}

/// silu'(g) = s (1 + g (1 - s)), s = sigmoid(g).
template <class Scalar>
void swiglu_backward(const SwigluBackwardArgs& args) {
  check_arguments(args);
  const std::int64_t width = args.gate_NF.dim(1);
  for (std::int64_t n = 0; n < args.gate_NF.dim(0); ++n) {
    std::vector<Scalar> gate = read_row<Scalar>(args.gate_NF, n * args.gate_NF.stride(0), width);
    std::vector<Scalar> up = read_row<Scalar>(args.up_NF, n * args.up_NF.stride(0), width);
    const std::vector<Scalar> dy = read_row<Scalar>(args.dy_NF, n * args.dy_NF.stride(0), width);
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const Scalar g = gate[i];
      const Scalar s = sigmoid_of(g);
      gate[i] = dy[i] * up[i] * (s * (Scalar(1) + g * (Scalar(1) - s)));
      up[i] = dy[i] * (g * s);
    }
    write_row(args.dgate_NF, n * args.dgate_NF.stride(0), gate);
    write_row(args.dup_NF, n * args.dup_NF.stride(0), up);
  }
}

template <class Scalar>
void embedding_forward(const EmbeddingForwardArgs& args) {
  check_arguments(args);
  const Scalar scale = static_cast<Scalar>(args.scale);
  const std::int64_t width = args.table_VC.dim(1);
  for (std::int64_t n = 0; n < args.y_NC.dim(0); ++n) {
    const std::int64_t row = args.token_N.as<std::int32_t>()[n] - args.first_row;
    std::vector<Scalar> y(static_cast<std::size_t>(width));
    if (row >= 0 && row < args.table_VC.dim(0)) {
      y = read_row<Scalar>(args.table_VC, row * args.table_VC.stride(0), width);
      for (Scalar& value : y) value = scale * value;
    }
    write_row(args.y_NC, n * args.y_NC.stride(0), y);
  }
}

template <class Scalar>
void embedding_backward(const EmbeddingBackwardArgs& args) {
  check_arguments(args);
  const Scalar scale = static_cast<Scalar>(args.scale);
  const std::int64_t width = args.dtable_VC.dim(1);
  for (std::int64_t n = 0; n < args.dy_NC.dim(0); ++n) {
    const std::int64_t row = args.token_N.as<std::int32_t>()[n] - args.first_row;
    if (row < 0 || row >= args.dtable_VC.dim(0)) continue;
    const std::vector<Scalar> dy = read_row<Scalar>(args.dy_NC, n * args.dy_NC.stride(0), width);
    Scalar* to = args.dtable_VC.as<Scalar>() + row * args.dtable_VC.stride(0);
    for (std::size_t i = 0; i < dy.size(); ++i) to[i] = to[i] + scale * dy[i];
  }
}

}  // namespace baekji::reference
