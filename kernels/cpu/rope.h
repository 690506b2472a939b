#pragma once
// Rotary embedding on the CPU, with the optional RMSNorm of each head (kernels/reference/rope.h).

#include "core/thread_pool.h"
#include "kernels/cpu/rms_norm.h"
#include "kernels/kernels.h"

namespace baekji::cpu {

void rope_forward(const RopeForwardArgs& args, ThreadPool& pool);
/// `sums` is used when args.gain_D is defined.
void rope_backward(const RopeBackwardArgs& args, ThreadPool& pool, GainSums& sums);

}  // namespace baekji::cpu
