#pragma once
// CudaKernels: every operation on one CUDA device, in order on one stream.

#include <functional>
#include <utility>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji {

/// Row-wise operations give the reference's bits; matmul and attention stand within the tolerance table of the tests.
/// fp32, bf16 and 8-bit tensors of the device only. The host waits for the device in download() and square_sums()
/// alone. Values that the CPU checks in passing (positions, first visible keys) are not looked at: the loader makes
/// them.
class CudaKernels final : public Kernels {
 public:
  explicit CudaKernels(Device device);

  std::string describe() const override;
  Device device() const override { return queue_.device(); }
  void* stream() const override { return queue_.stream(); }
  void poll_while_waiting(std::function<void(double waited_s)> poll) override { queue_.poll_with(std::move(poll)); }
  std::int64_t scratch_bytes(const WorkShape& shape) const override;
  /// The algorithm of every matrix product so far, for the record: a table that CudaMatmul reads.
  std::string matmul_algorithms() const { return matmul_.algorithms(); }

  void matmul(const MatmulArgs& args) override;
  void absolute_max(const AbsoluteMaxArgs& args) override;
  void quantise(const QuantiseArgs& args) override;
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
  cuda::Queue queue_;
  cuda::CudaMatmul matmul_;
  cuda::CudaAttention attention_;
};

}  // namespace baekji
