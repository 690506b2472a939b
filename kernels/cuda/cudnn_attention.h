#pragma once
// cuDNN's fused attention behind the one decision of whether it serves a call.

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

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

}  // namespace baekji::cuda
