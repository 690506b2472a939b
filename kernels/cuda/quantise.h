#pragma once
// 8-bit operands on the GPU: exact maxima and conversion with a power of two as scale.

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

void absolute_max(const AbsoluteMaxArgs& args, Queue& queue);
void quantise(const QuantiseArgs& args, Queue& queue);

}  // namespace baekji::cuda
