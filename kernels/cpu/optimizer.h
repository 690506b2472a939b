#pragma once
// Fixed-point gradient sums, square sums and AdamW on the CPU (kernels/reference/optimizer.h): one pass over memory
// each.

#include <span>

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace baekji::cpu {

void fixed_point_accumulate(const FixedPointArgs& args, ThreadPool& pool);
void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results, ThreadPool& pool);
void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves, ThreadPool& pool);

}  // namespace baekji::cpu
