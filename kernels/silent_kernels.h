#pragma once
// SilentKernels: answers the questions of a plan as other kernels do, and computes nothing. Memory that was only
// measured is never touched, so a whole step can be rehearsed on it.

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "kernels/forwarding_kernels.h"

namespace baekji {

class SilentKernels : public ForwardingKernels {
 public:
  explicit SilentKernels(std::unique_ptr<Kernels> asked) : ForwardingKernels(*asked), asked_(std::move(asked)) {}

  void weights_changed() override {}
  void matmul(const MatmulArgs& /*args*/) override {}
  void absolute_max(const AbsoluteMaxArgs& /*args*/) override {}
  void quantise(const QuantiseArgs& /*args*/) override {}
  void rms_norm_forward(const RmsNormForwardArgs& /*args*/) override {}
  void rms_norm_backward(const RmsNormBackwardArgs& /*args*/) override {}
  void rope_forward(const RopeForwardArgs& /*args*/) override {}
  void rope_backward(const RopeBackwardArgs& /*args*/) override {}
  void attention_forward(const AttentionForwardArgs& /*args*/) override {}
  void attention_backward(const AttentionBackwardArgs& /*args*/) override {}
  void swiglu_forward(const SwigluForwardArgs& /*args*/) override {}
  void swiglu_backward(const SwigluBackwardArgs& /*args*/) override {}
  void embedding_forward(const EmbeddingForwardArgs& /*args*/) override {}
  void embedding_backward(const EmbeddingBackwardArgs& /*args*/) override {}
  void logits_max(const LogitsMaxArgs& /*args*/) override {}
  void logits_exp_sum(const LogitsExpSumArgs& /*args*/) override {}
  void logits_gradient(const LogitsGradientArgs& /*args*/) override {}
  void token_loss(const TokenLossArgs& /*args*/) override {}
  void tree_add(const TreeAddArgs& /*args*/) override {}
  void cast(const CastArgs& /*args*/) override {}
  void fill_zero(const Tensor& /*tensor*/) override {}
  void copy(const CopyArgs& /*args*/) override {}
  void upload(const UploadArgs& /*args*/) override {}
  void download(const DownloadArgs& /*args*/) override {}
  void sequence_loss(const SequenceLossArgs& /*args*/) override {}
  void fixed_point_accumulate(const FixedPointArgs& /*args*/) override {}
  void square_sums(std::span<const SquareSumArgs> /*args*/, std::span<SquareSum> /*results*/) override {}
  void adamw(std::span<const AdamwArgs> /*args*/, std::span<double> square_moves) override {
    std::fill(square_moves.begin(), square_moves.end(), 0.0);
  }

 private:
  std::unique_ptr<Kernels> asked_;
};

}  // namespace baekji
