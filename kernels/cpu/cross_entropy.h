#pragma once
// The passes of the cross-entropy on the CPU (kernels/reference/cross_entropy.h), threaded over tokens.

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace baekji::cpu {

void logits_max(const LogitsMaxArgs& args, ThreadPool& pool);
void logits_exp_sum(const LogitsExpSumArgs& args, ThreadPool& pool);
void logits_gradient(const LogitsGradientArgs& args, ThreadPool& pool);
void token_loss(const TokenLossArgs& args);

}  // namespace baekji::cpu
