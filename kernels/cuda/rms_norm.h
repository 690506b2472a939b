#pragma once
// RMSNorm on the GPU: the reference's bits (kernels/reference/rms_norm.h).

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

void rms_norm_forward(const RmsNormForwardArgs& args, Queue& queue);
void rms_norm_backward(const RmsNormBackwardArgs& args, Queue& queue);

}  // namespace baekji::cuda
