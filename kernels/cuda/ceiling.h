#pragma once
// The measured ceilings of a CUDA device, as kernels/cpu/ceiling.h has them of the host. Includes nothing of the
// toolkit: without it both throw (kernels/cuda_none.cpp).

#include <cstdint>

#include "core/device.h"
#include "core/types.h"

namespace baekji {

/// FLOP/s of size^3 matrix products with fp32 sums on `device`: the best of several rounds of products one after
/// another, by the fastest algorithm that the numerics contract can have, on random values (zeros draw less power, and
/// the clock would stay higher than in training). `type` is kFloat32 (no TF32), kBfloat16, or kFloat8E4M3; the last two
/// store bf16. Takes three matrices of memory while it runs, and a fraction of a second.
double measure_matmul_ceiling(Device device, DType type, std::int64_t size = 8192);

/// Bytes/s read plus written by copies from one half to the other of 2 * size_bytes of the device's memory; the best of
/// several rounds.
double measure_copy_bandwidth(Device device, std::int64_t size_bytes = std::int64_t{1} << 30);

}  // namespace baekji
