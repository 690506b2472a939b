#pragma once
// The measured ceilings of this machine: what a perfect kernel could reach, taken in the same run as what is compared
// with it.

#include "core/thread_pool.h"
#include "core/types.h"

namespace baekji {

/// FLOP/s of large square matrix multiplications (oneDNN, one single-threaded call per thread of the pool at a time),
/// the best of several rounds in about 0.3 s. `type` is kFloat32 or kBfloat16 (with fp32 accumulation).
double measure_matmul_ceiling(ThreadPool& pool, DType type);

/// Bytes/s read plus written by a copy between buffers much larger than the caches; the best of several rounds.
double measure_copy_bandwidth(ThreadPool& pool);

}  // namespace baekji
