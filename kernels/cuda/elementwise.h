#pragma once
// The grain tree, cast, fill and copy on the GPU: the reference's bits (kernels/reference/elementwise.h).

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

void tree_add(const TreeAddArgs& args, Queue& queue);
void cast(const CastArgs& args, Queue& queue);
void fill_zero(const Tensor& tensor, Queue& queue);
void copy(const CopyArgs& args, Queue& queue);

}  // namespace baekji::cuda
