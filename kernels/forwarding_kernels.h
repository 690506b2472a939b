#pragma once
// ForwardingKernels: passes every operation on. Tracers and tests change some of them in classes of their own.

#include <span>
#include <string>

#include "kernels/kernels.h"

namespace baekji {

class ForwardingKernels : public Kernels {
 public:
  /// `inner` outlives it.
  explicit ForwardingKernels(Kernels& inner) : inner_(inner) {}

  std::string describe() const override { return inner_.describe(); }
  Device device() const override { return inner_.device(); }
  std::int64_t packed_weight_bytes(const Tensor& weight) const override { return inner_.packed_weight_bytes(weight); }
  std::int64_t scratch_bytes(const WorkShape& shape) const override { return inner_.scratch_bytes(shape); }
  void weights_changed() override { inner_.weights_changed(); }
  void matmul(const MatmulArgs& args) override { inner_.matmul(args); }
  void absolute_max(const AbsoluteMaxArgs& args) override { inner_.absolute_max(args); }
  void quantise(const QuantiseArgs& args) override { inner_.quantise(args); }
  void rms_norm_forward(const RmsNormForwardArgs& args) override { inner_.rms_norm_forward(args); }
  void rms_norm_backward(const RmsNormBackwardArgs& args) override { inner_.rms_norm_backward(args); }
  void rope_forward(const RopeForwardArgs& args) override { inner_.rope_forward(args); }
  void rope_backward(const RopeBackwardArgs& args) override { inner_.rope_backward(args); }
  void attention_forward(const AttentionForwardArgs& args) override { inner_.attention_forward(args); }
  void attention_backward(const AttentionBackwardArgs& args) override { inner_.attention_backward(args); }
  void swiglu_forward(const SwigluForwardArgs& args) override { inner_.swiglu_forward(args); }
  void swiglu_backward(const SwigluBackwardArgs& args) override { inner_.swiglu_backward(args); }
  void embedding_forward(const EmbeddingForwardArgs& args) override { inner_.embedding_forward(args); }
  void embedding_backward(const EmbeddingBackwardArgs& args) override { inner_.embedding_backward(args); }
  void logits_max(const LogitsMaxArgs& args) override { inner_.logits_max(args); }
  void logits_exp_sum(const LogitsExpSumArgs& args) override { inner_.logits_exp_sum(args); }
  void logits_gradient(const LogitsGradientArgs& args) override { inner_.logits_gradient(args); }
  void token_loss(const TokenLossArgs& args) override { inner_.token_loss(args); }
  void tree_add(const TreeAddArgs& args) override { inner_.tree_add(args); }
  void cast(const CastArgs& args) override { inner_.cast(args); }
  void fill_zero(const Tensor& tensor) override { inner_.fill_zero(tensor); }
  void copy(const CopyArgs& args) override { inner_.copy(args); }
  void upload(const UploadArgs& args) override { inner_.upload(args); }
  void download(const DownloadArgs& args) override { inner_.download(args); }
  void sequence_loss(const SequenceLossArgs& args) override { inner_.sequence_loss(args); }
  void fixed_point_accumulate(const FixedPointArgs& args) override { inner_.fixed_point_accumulate(args); }
  void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) override {
    inner_.square_sums(args, results);
  }
  void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) override {
    inner_.adamw(args, square_moves);
  }

 protected:
  Kernels& inner() const { return inner_; }

 private:
  Kernels& inner_;
};

}  // namespace baekji
