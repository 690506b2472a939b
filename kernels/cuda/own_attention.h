#pragma once
// Causal attention in kernels of our own: what cuDNN does not do, and all of it where there is no cuDNN.

#include <cstdint>

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

/// Any of fp32 and bf16 (all tensors of one type, lse fp32), any document mask, head widths up to kOwnAttentionWidth,
/// and fewer queries than keys. Tiles in shared memory, plain fused multiply-adds, no tensor cores: right, but slow.
///
/// The order of every sum is that of CPU attention (kernels/cpu/attention.h): scores fold over d; softmax goes over
/// blocks of 128 keys from key 0 with a running maximum, sums of exponentials in 16 lanes and their tree; y and dq fold
/// over keys, dk and dv over the query heads of a group and inside a head over queries. No atomics: each output element
/// has one thread. In fp32 the bits are those of the CPU.
inline constexpr std::int64_t kOwnAttentionWidth = 256;

void own_attention_forward(const AttentionForwardArgs& args, Queue& queue);
/// Takes cuda_own_attention_scratch_bytes() (kernels/cuda_planning.h) of the queue's working memory.
void own_attention_backward(const AttentionBackwardArgs& args, Queue& queue);

}  // namespace baekji::cuda
