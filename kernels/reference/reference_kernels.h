#pragma once
// ReferenceKernels: the specification of every operation, as plain single-threaded loops over one scalar type.
//
//   float               serves fp32 and bf16 tensors: loads widen exactly, arithmetic is fp32, each store rounds once.
//   double, Complex     serve tensors of their own type only (int32 indices aside): the gradient oracle. Complex has no
//                       order and no absolute value here: maxima compare real parts, squares are x * x, so that the
//                       imaginary part of a forward pass at x + ih is h times the derivative.
// The optimizer's operations and those of 8-bit operands are fp32 by contract and refused in the other two.

#include <string>

#include "kernels/kernels.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/cross_entropy.h"
#include "kernels/reference/elementwise.h"
#include "kernels/reference/feed_forward.h"
#include "kernels/reference/matmul.h"
#include "kernels/reference/optimizer.h"
#include "kernels/reference/quantise.h"
#include "kernels/reference/rms_norm.h"
#include "kernels/reference/rope.h"

namespace baekji {

template <class Scalar>
class ReferenceKernels final : public Kernels {
 public:
  std::string describe() const override { return fmt::format("reference {}", name_of(dtype_of<Scalar>())); }

  void matmul(const MatmulArgs& args) override { reference::matmul<Scalar>(args); }
  void absolute_max(const AbsoluteMaxArgs& args) override {
    require_float("absolute_max");
    reference::absolute_max(args);
  }
  void quantise(const QuantiseArgs& args) override {
    require_float("quantise");
    reference::quantise(args);
  }
  void rms_norm_forward(const RmsNormForwardArgs& args) override { reference::rms_norm_forward<Scalar>(args); }
  void rms_norm_backward(const RmsNormBackwardArgs& args) override { reference::rms_norm_backward<Scalar>(args); }
  void rope_forward(const RopeForwardArgs& args) override { reference::rope_forward<Scalar>(args); }
  void rope_backward(const RopeBackwardArgs& args) override { reference::rope_backward<Scalar>(args); }
  void attention_forward(const AttentionForwardArgs& args) override { reference::attention_forward<Scalar>(args); }
  void attention_backward(const AttentionBackwardArgs& args) override { reference::attention_backward<Scalar>(args); }
  void swiglu_forward(const SwigluForwardArgs& args) override { reference::swiglu_forward<Scalar>(args); }
  void swiglu_backward(const SwigluBackwardArgs& args) override { reference::swiglu_backward<Scalar>(args); }
  void embedding_forward(const EmbeddingForwardArgs& args) override { reference::embedding_forward<Scalar>(args); }
  void embedding_backward(const EmbeddingBackwardArgs& args) override { reference::embedding_backward<Scalar>(args); }
  void logits_max(const LogitsMaxArgs& args) override { reference::logits_max<Scalar>(args); }
  void logits_exp_sum(const LogitsExpSumArgs& args) override { reference::logits_exp_sum<Scalar>(args); }
  void logits_gradient(const LogitsGradientArgs& args) override { reference::logits_gradient<Scalar>(args); }
  void token_loss(const TokenLossArgs& args) override { reference::token_loss<Scalar>(args); }
  void tree_add(const TreeAddArgs& args) override { reference::tree_add<Scalar>(args); }
  void cast(const CastArgs& args) override { reference::cast<Scalar>(args); }
  void fill_zero(const Tensor& tensor) override { reference::fill_zero(tensor); }
  void copy(const CopyArgs& args) override { reference::copy(args); }

  void upload(const UploadArgs& args) override { reference::upload(args); }
  void download(const DownloadArgs& args) override { reference::download(args); }
  void sequence_loss(const SequenceLossArgs& args) override { reference::sequence_loss<Scalar>(args); }
  void fixed_point_accumulate(const FixedPointArgs& args) override {
    require_float("fixed_point_accumulate");
    reference::fixed_point_accumulate(args);
  }
  void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) override {
    require_float("square_sums");
    require_equal(args.size(), results.size(), "one result for each range", "square_sums");
    for (std::size_t i = 0; i < args.size(); ++i) results[i] = reference::square_sum(args[i]);
  }
  void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) override {
    require_float("adamw");
    require_equal(args.size(), square_moves.size(), "one result for each range", "adamw");
    for (std::size_t i = 0; i < args.size(); ++i) square_moves[i] = reference::adamw(args[i]);
  }

 private:
  static void require_float(std::string_view operation) {
    require_equal(DType::kFloat32 == dtype_of<Scalar>(), true, "this operation is fp32 only", operation);
  }
};

}  // namespace baekji
