#pragma once
// A linear layer of a block, y = x w^T, slice by slice: its three matrix products, in the experiment's precision.
//
// With numerics.precision = "fp8" (Micikevicius et al. 2022, "FP8 formats for deep learning", section 3) inputs and
// weights are E4M3, gradients of outputs E5M2, for their range; products are summed in fp32, outputs are bf16, weight
// gradients fp32. Copies are made where they are used: once for all slices of an input, and for every use of a weight.
//
// O output features of a slice, I input features of it.

#include "model/layer_context.h"

namespace baekji {

class Linear {
 public:
  Linear(const LayerContext& context, GroupId weight) : c_(context), weight_(weight) {}

  /// y = x w^T; x from OperandBuffer::plain().
  void forward(std::size_t slice, const Operand& x_NI, const Tensor& y_NO, const Workspace& w) const;
  /// dx = dy w; dy from OperandBuffer::plain().
  void backward_input(std::size_t slice, const Operand& dy_NO, const Tensor& dx_NI, const Workspace& w) const;
  /// The weight's gradient sum += dy^T x; both from OperandBuffer::transposed().
  void backward_weight(std::size_t slice, const Operand& dy, const Operand& x) const;

 private:
  const LayerContext& c_;
  GroupId weight_;
};

/// Throws unless every dim of every such product is a multiple of 16, as cuBLASLt demands of 8-bit operands, for
/// micro-batches of `tokens`. On all devices, so that an experiment means the same everywhere.
void validate_float8(const ModelConfig& model, std::int64_t tensor_grains, std::int64_t tokens,
                     const std::string& place);

}  // namespace baekji
