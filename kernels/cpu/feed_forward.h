#pragma once
// SwiGLU and embedding on the CPU (kernels/reference/feed_forward.h).

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace baekji::cpu {

void swiglu_forward(const SwigluForwardArgs& args, ThreadPool& pool);
void swiglu_backward(const SwigluBackwardArgs& args, ThreadPool& pool);
void embedding_forward(const EmbeddingForwardArgs& args, ThreadPool& pool);
/// Threaded over column ranges: inside each, tokens add in index order.
void embedding_backward(const EmbeddingBackwardArgs& args, ThreadPool& pool);

}  // namespace baekji::cpu
