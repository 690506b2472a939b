#pragma once
// Maxima of floating-point numbers over ranks, made of maxima of integers: integers that stand in the order in which
// ReduceOp::kMax puts the numbers.

#include <cuda_runtime.h>

#include "core/tensor.h"

namespace baekji::cuda {

/// keys[i] = the key of values[i]; keys may be values itself. fp32 gives int32, fp64 int64. A number's bits, read as a
/// signed integer, already ascend among the numbers with a clear sign and descend among the others: those are turned
/// round, so that -0 stands just below +0. Every NaN has the largest key there is.
void ordered_keys(const Tensor& values, const Tensor& keys, cudaStream_t stream);
/// values[i] = the number of keys[i]; NaN is the one quiet NaN of combine() (parallel/reduction.h). values may be keys
/// itself.
void values_of_keys(const Tensor& keys, const Tensor& values, cudaStream_t stream);

}  // namespace baekji::cuda
