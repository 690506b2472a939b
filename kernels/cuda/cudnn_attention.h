#pragma once
// cuDNN's fused attention behind the one decision of whether it serves a call.

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

/// What memory attention takes is planned from.
struct AttentionShape {
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;  ///< per sequence
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t width = 0;
  bool document_mask = false;
};

/// Scaled-dot-product attention of cuDNN's graph interface in bf16, the backward pass with the deterministic algorithm.
/// A plan is made for each new shape, which takes seconds and compiles; after that nothing is allocated.
///
/// A document mask is an additive bias, 0 or a large negative number, written before each call to the working memory.
/// Weights of hidden keys are exactly 0, and a sum that takes in zeros keeps its bits: what stands in other documents,
/// if finite, does not show.
class CudnnAttention {
 public:
  /// Throws Error when cuDNN is older than the first version that is deterministic on Hopper and Blackwell.
  explicit CudnnAttention(Queue& queue);
  ~CudnnAttention();

  /// Whether cuDNN serves a call: by device, types, shapes and strides, and whether there is a mask.
  bool supports(const AttentionForwardArgs& args) const;
  bool supports(const AttentionBackwardArgs& args) const;

  /// Only what supports() takes. Throws Error when cuDNN has no deterministic plan after all.
  void forward(const AttentionForwardArgs& args);
  void backward(const AttentionBackwardArgs& args);

  /// "cuDNN 9.19.0 (plan, plan ...)"
  std::string describe() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// No less working memory than cuDNN 9.19 asks for, forward or backward, on a device of this compute capability. On
/// Hopper it is quadratic in the tokens: the deterministic backward pass stores the gradients of all scores.
std::int64_t cudnn_attention_scratch_bytes(const AttentionShape& shape, int compute_major);

}  // namespace baekji::cuda
