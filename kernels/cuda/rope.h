#pragma once
// Rotary embedding with QK-norm on the GPU: the reference's bits (kernels/reference/rope.h).

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

void rope_forward(const RopeForwardArgs& args, Queue& queue);
void rope_backward(const RopeBackwardArgs& args, Queue& queue);

}  // namespace baekji::cuda
