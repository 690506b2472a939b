#pragma once
// What the matrix products of the linear layers read: tensors as they are, or, with numerics.precision = "fp8", copies
// in 8 bits with one scale each.

#include <cstdint>

#include "core/arena.h"
#include "kernels/kernels.h"

namespace baekji {

/// One side of a matrix product.
struct Operand {
  Tensor values;
  Tensor scale;  ///< fp32 [1]; undefined: the values are not an 8-bit copy
};

/// Memory for the 8-bit copy of one operand at a time. Unbound it has none, and operands are the tensors themselves.
///
/// A copy has the smallest power-of-two scale that its own largest magnitude allows, taken when the copy is made:
/// per-tensor current scaling, without history, so that no state of training depends on what was computed before, or by
/// which rank. A value that is not finite makes the whole copy NaN (QuantiseArgs), and so the step void.
class OperandBuffer {
 public:
  /// Takes memory for copies of at most `elements` of an 8-bit type. `kernels` outlives this.
  void bind(Kernels& kernels, Arena& arena, DType type, std::int64_t elements);

  /// For products that sum over the last dim of x.
  Operand plain(const Tensor& x_NC) const;
  /// For products that sum over the first dim of x: itself, or a copy [C, N], because tensor cores take 8-bit operands
  /// only with the inner dim last.
  Operand transposed(const Tensor& x_NC) const;

 private:
  Tensor copy(std::int64_t rows, std::int64_t columns) const;

  Kernels* kernels_ = nullptr;
  Tensor bytes_;  // flat
  Tensor max_;
  Tensor scale_;
};

/// The operands that live at the same time in one branch of a block.
struct OperandBuffers {
  OperandBuffer gathered;           ///< an input of all tokens, which every slice reads
  OperandBuffer slice;              ///< an input of one slice
  OperandBuffer gathered_gradient;  ///< the gradient of an output of all tokens
  OperandBuffer slice_gradient;     ///< the gradient of an output of one slice
  OperandBuffer weight;             ///< the weight of one slice
};

}  // namespace baekji
