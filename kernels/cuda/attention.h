#pragma once
// Causal attention on the GPU through cuDNN.

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

/// cuDNN's fused scaled-dot-product attention in bf16, the backward pass in deterministic mode; each sequence by
/// itself, so that a row's bits do not depend on the others of the call.
class CudaAttention {
 public:
  explicit CudaAttention(Queue& queue);
  ~CudaAttention();

  void forward(const AttentionForwardArgs& args);
  void backward(const AttentionBackwardArgs& args);

  /// Library version and plans, for the kernel set.
  std::string describe() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baekji::cuda
