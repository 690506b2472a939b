#pragma once
// Element-wise reductions between the values of two ranks. Every order of ranks gives the same bits.

#include "core/tensor.h"
#include "parallel/communicator.h"

namespace baekji {

/// into[i] = into[i] op from[i] for `count` elements of `type`. Sums wrap; of two maxima a NaN is the larger, as the
/// one quiet NaN that fp32 and fp64 have for it. Types other than those of Communicator::all_reduce are left alone.
void combine(DType type, ReduceOp op, void* into, const void* from, std::int64_t count);

}  // namespace baekji
