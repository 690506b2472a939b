#pragma once
// Exact maxima and conversion to 8 bits on the CPU (kernels/reference/quantise.h).

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace baekji::cpu {

void absolute_max(const AbsoluteMaxArgs& args, ThreadPool& pool);
void quantise(const QuantiseArgs& args, ThreadPool& pool);

}  // namespace baekji::cpu
