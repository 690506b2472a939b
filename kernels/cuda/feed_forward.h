#pragma once
// SwiGLU on the GPU: the reference's bits (kernels/reference/feed_forward.h).

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

void swiglu_forward(const SwigluForwardArgs& args, Queue& queue);
void swiglu_backward(const SwigluBackwardArgs& args, Queue& queue);

}  // namespace baekji::cuda
