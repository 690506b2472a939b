#pragma once
// Fixed-point gradient sums, square sums and AdamW on the GPU: the reference's bits (kernels/reference/optimizer.h).

#include <span>

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

void fixed_point_accumulate(const FixedPointArgs& args, Queue& queue);
/// This and adamw wait for the device: the results are the host's.
void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results, Queue& queue);
void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves, Queue& queue);

}  // namespace baekji::cuda
