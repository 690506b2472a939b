#pragma once
// Embedding on the GPU: the reference's bits; rows add up in token order, without atomics.

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

void embedding_forward(const EmbeddingForwardArgs& args, Queue& queue);
void embedding_backward(const EmbeddingBackwardArgs& args, Queue& queue);

}  // namespace baekji::cuda
