#pragma once
// What the communicators do with the bytes of two ranks: element-wise reductions, where every order of ranks gives the
// same bits, and places inside a tensor.

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "parallel/communicator.h"

namespace baekji {

/// into[i] = into[i] op from[i] for `count` elements of `type`. Sums wrap; of two maxima a NaN is the larger, as the
/// one quiet NaN that fp32 and fp64 have for it. Types other than those of Communicator::all_reduce are left alone.
void combine(DType type, ReduceOp op, void* into, const void* from, std::int64_t count);

/// The place `offset_bytes` into `data`. Whether it may be written is the caller's to know: a posted tensor is one
/// type.
inline std::byte* byte_at(const void* data, std::int64_t offset_bytes) {
  return static_cast<std::byte*>(const_cast<void*>(data)) + offset_bytes;
}

}  // namespace baekji
