#pragma once
// Trace: what each operation of a step wrote, as hashes of rows, so that two executions under different layouts can be
// compared operation by operation.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/forwarding_kernels.h"
#include "parallel/parameter_store.h"

namespace baekji {

/// One operation at one place of the model, over all micro-batches and slices of a step. The place is the parameter
/// that the operation, or the last one before it that had a parameter, worked with.
struct OperationTrace {
  std::string name;                 ///< "layers.3.attention.q: matmul, forward"
  std::vector<std::uint64_t> rows;  ///< a hash of each row written, in the order of writing
};

/// The operations of a rank in the order in which they first came.
class Trace {
 public:
  void add(const std::string& name, std::uint64_t row);
  const std::vector<OperationTrace>& operations() const { return operations_; }
  const OperationTrace* find(const std::string& name) const;
  /// For sending to another rank.
  std::string to_text() const;
  /// Adds the operations of another rank's text behind those that are here.
  void merge(std::string_view text);

 private:
  std::vector<OperationTrace> operations_;
  std::unordered_map<std::string, std::size_t> index_;
};

/// The first operation of `whole` (a trace of one rank) that wrote a row which no rank of `parts` wrote.
struct TraceDifference {
  std::string name;
  std::vector<std::uint64_t> missing;  ///< rows of `whole` that `parts` lacks
  std::vector<std::uint64_t> extra;    ///< rows of `parts` at the same operation that `whole` lacks
};
/// Ranks also write rows that one rank alone does not (sums over some of the slices): those are no difference.
std::optional<TraceDifference> first_difference(const Trace& whole, const Trace& parts);

/// Kernels that trace while they are told to.
class TracingKernels final : public ForwardingKernels {
 public:
  explicit TracingKernels(std::unique_ptr<Kernels> inner);

  /// The parameters whose addresses name the places. Weights must stay where they are: not with zero = 3.
  void know(const ParameterStore& parameters);
  void start();
  Trace stop();
  /// While tracing, also keeps the values of rows of one operation with these hashes.
  void keep(std::string name, std::vector<std::uint64_t> rows);
  /// What keep() found, by hash, since start().
  std::map<std::uint64_t, std::vector<double>> kept() const { return kept_; }

  void matmul(const MatmulArgs& args) override;
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
  void logits_exp_sum(const LogitsExpSumArgs& args) override;
  void logits_gradient(const LogitsGradientArgs& args) override;
  void token_loss(const TokenLossArgs& args) override;
  void tree_add(const TreeAddArgs& args) override;

 private:
  void note(const std::string& name, const Tensor& output);
  void note_at(const Tensor& parameter, const char* operation, const Tensor& output);
  void note_after(const char* operation, const Tensor& output);
  std::string name_of(const Tensor& parameter) const;

  std::unique_ptr<Kernels> owned_;
  std::map<const std::byte*, std::pair<const std::byte*, std::string>> places_;  // by first byte: end, name
  bool tracing_ = false;
  std::string last_;                // the parameter of the last operation that had one
  const char* product_ = "matmul";  // what the 8-bit copy of that parameter is for
  Trace trace_;
  std::string keep_name_;
  std::vector<std::uint64_t> keep_rows_;
  std::map<std::uint64_t, std::vector<double>> kept_;
};

}  // namespace baekji
