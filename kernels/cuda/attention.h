#pragma once
// Causal attention on the GPU: cuDNN where it is deterministic, our own kernels for the rest.

#include <cstdint>
#include <string>

#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

/// Attention of fp32 and bf16 tensors (all of one type; lse fp32), head widths up to 256.
///
/// Which kernel serves a call depends on its shapes, types, strides and whether it has a document mask, and on the
/// device: never on values, so every layout of an experiment calls the same ones. cuDNN takes bf16 in the shapes that
/// training has (CudnnAttention::supports); kernels/cuda/own_attention.h takes the rest, slowly: fp32, fewer queries
/// than keys (generation), odd widths.
class CudaAttention {
 public:
  /// Throws Error when cuDNN is there but too old for a deterministic backward pass.
  explicit CudaAttention(Queue& queue) : queue_(queue), cudnn_(queue) {}

  /// Both throw Error on shapes, types or devices that do not go together; nothing is written then. first_BT is not
  /// looked at on the host: a query that sees no key gets NaN.
  void forward(const AttentionForwardArgs& args);
  void backward(const AttentionBackwardArgs& args);

  /// Library versions and the plans so far, for the kernel set.
  std::string describe() const;

 private:
  Queue& queue_;
  CudnnAttention cudnn_;
};

}  // namespace baekji::cuda
