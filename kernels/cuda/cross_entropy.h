#pragma once
// Cross-entropy in its passes on the GPU: the reference's bits (kernels/reference/cross_entropy.h).

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

void logits_max(const LogitsMaxArgs& args, Queue& queue);
void logits_exp_sum(const LogitsExpSumArgs& args, Queue& queue);
void logits_gradient(const LogitsGradientArgs& args, Queue& queue);
void token_loss(const TokenLossArgs& args, Queue& queue);
void sequence_loss(const SequenceLossArgs& args, Queue& queue);

}  // namespace baekji::cuda
