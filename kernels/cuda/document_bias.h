#pragma once
// A document mask in the form that cuDNN takes: a bias that is added to the scores.

#include <cstdint>

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

/// What a hidden key adds to its score: exp() of anything like it is 0, and no product with it overflows. Not infinity,
/// since a running maximum over hidden keys alone would then be infinite, and infinity less infinity is no number.
inline constexpr float kHiddenBias = -1e30F;

/// bias[b, t, k] = k < first[b, t] ? kHiddenBias : 0 for the int32 tensor first_BT; *overwritten*, bf16 [B, T, T].
void write_document_bias(const Tensor& first_BT, Bfloat16* bias_BTT, Queue& queue);

}  // namespace baekji::cuda
