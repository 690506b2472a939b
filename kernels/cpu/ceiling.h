#pragma once
// The measured ceilings of this machine: what a perfect kernel could reach, taken in the same run as what is compared
// with it.

#include "core/thread_pool.h"
#include "core/types.h"

namespace baekji {

/// The type in which the library multiplies matrices of `type` here: fp32 for bf16 on a processor without the AVX-512
/// that its bf16 products need. Our own products of bf16 are then made of fp32 arithmetic too, so that is the ceiling.
/// Products of 8-bit types are always of fp32 arithmetic on a CPU.
DType library_matmul_type(DType type);

/// FLOP/s of large square matrix multiplications (oneDNN, one single-threaded call per thread of the pool at a time),
/// the best of several rounds in about 0.3 s. `type` is kFloat32, kBfloat16 or of 8 bits (with fp32 accumulation;
/// library_matmul_type says what it is measured in).
double measure_matmul_ceiling(ThreadPool& pool, DType type);

/// Bytes/s read plus written by a copy between buffers much larger than the caches; the best of several rounds.
double measure_copy_bandwidth(ThreadPool& pool);

}  // namespace baekji
