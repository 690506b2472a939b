#pragma once
// The grain tree, cast and fill on the CPU (kernels/reference/elementwise.h).

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace baekji::cpu {

void tree_add(const TreeAddArgs& args, ThreadPool& pool);
/// Between fp32 and bf16; throws on other element types.
void cast(const CastArgs& args, ThreadPool& pool);
void fill_zero(const Tensor& tensor, ThreadPool& pool);
void copy(const CopyArgs& args, ThreadPool& pool);

}  // namespace baekji::cpu
