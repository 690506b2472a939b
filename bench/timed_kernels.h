#pragma once
// TimedKernels: passes every operation on and adds up its time, arithmetic and bytes, by name and shape.

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "kernels/forwarding_kernels.h"

namespace baekji::bench {

struct OperationTotal {
  std::int64_t calls = 0;
  double seconds = 0;
  double flops = 0;  ///< 0 for operations that are bound by memory
  double bytes = 0;  ///< each operand once
  /// The bytes go between host and device: on a GPU another path than that of its memory.
  bool crosses = false;
};

/// A matrix product as the library that sets the ceiling would be asked for it.
struct MatmulShape {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t inner = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;
  DType input = DType::kFloat32;
  DType output = DType::kFloat32;
  auto operator<=>(const MatmulShape&) const = default;
  double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(inner); }
  std::string describe() const;
};

class TimedKernels final : public ForwardingKernels {
 public:
  /// `wait` ends when the device has done what it was asked for; operations of the CPU are done when they return, and
  /// it has none. `inner` outlives it.
  explicit TimedKernels(Kernels& inner, std::function<void()> wait = {})
      : ForwardingKernels(inner), wait_(std::move(wait)) {}

  /// Whether operations are timed from here on, and waited for. Without, they are passed on and nothing else.
  void set_timing(bool timing) { timing_ = timing; }

  const std::map<std::string, OperationTotal>& totals() const { return totals_; }
  const std::map<MatmulShape, OperationTotal>& matmuls() const { return matmuls_; }
  void reset() {
    totals_.clear();
    matmuls_.clear();
  }

  void matmul(const MatmulArgs& args) override;
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
  void fixed_point_accumulate(const FixedPointArgs& args) override;
  void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) override;
  void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) override;
  void absolute_max(const AbsoluteMaxArgs& args) override;
  void quantise(const QuantiseArgs& args) override;
  void upload(const UploadArgs& args) override;
  void download(const DownloadArgs& args) override;
  void sequence_loss(const SequenceLossArgs& args) override;

 private:
  /// Seconds of this call; 0 without timing.
  template <class Call>
  double timed(const char* name, double flops, double bytes, const Call& call);

  std::function<void()> wait_;
  bool timing_ = true;
  std::map<std::string, OperationTotal> totals_;
  std::map<MatmulShape, OperationTotal> matmuls_;
};

}  // namespace baekji::bench
