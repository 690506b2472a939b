#pragma once
// CpuKernels: the fast kernels of this CPU.

#include "kernels/cpu/attention.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/rms_norm.h"
#include "kernels/kernels.h"

namespace baekji {

/// Row-wise operations give the reference's bits, on any number of threads; matmul and attention stand within the
/// tolerance table of the tests. fp32 and bf16 tensors only.
class CpuKernels final : public Kernels {
 public:
  /// `pool` must outlive the kernels.
  explicit CpuKernels(ThreadPool& pool);

  std::string describe() const override;

  std::int64_t packed_weight_bytes(const Tensor& weight) const override;
  std::int64_t scratch_bytes(const WorkShape& shape) const override;
  void matmul(const MatmulArgs& args) override;
  void absolute_max(const AbsoluteMaxArgs& args) override;
  void quantise(const QuantiseArgs& args) override;
  void weights_changed() override;
  void rms_norm_forward(const RmsNormForwardArgs& args) override;
  void rms_norm_backward(const RmsNormBackwardArgs& args) override;
  void rope_forward(const RopeForwardArgs& args) override;
  void rope_backward(const RopeBackwardArgs& args) override;
  void attention_forward(const AttentionForwardArgs& args) override;
  void attention_backward(const AttentionBackwardArgs& args) override;
  void swiglu_forward(const SwigluForwardArgs& args) override;
  void swiglu_backward(const SwigluBackwardArgs& args) override;
  void embedding_forward(const EmbeddingForwardArgs& args) override;
  void embedding_backward(const EmbeddingBackwardArgs& args) override;
  void logits_max(const LogitsMaxArgs& args) override;
  void logits_exp_sum(const LogitsExpSumArgs& args) override;
  void logits_gradient(const LogitsGradientArgs& args) override;
  void token_loss(const TokenLossArgs& args) override;
  void tree_add(const TreeAddArgs& args) override;
  void cast(const CastArgs& args) override;
  void fill_zero(const Tensor& tensor) override;
  void copy(const CopyArgs& args) override;
  void upload(const UploadArgs& args) override;
  void download(const DownloadArgs& args) override;
  void sequence_loss(const SequenceLossArgs& args) override;
  void fixed_point_accumulate(const FixedPointArgs& args) override;
  void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) override;
  void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) override;

 private:
  ThreadPool& pool_;
  CpuMatmul matmul_;
  CpuAttention attention_;
  cpu::GainSums gain_sums_;
};

}  // namespace baekji
