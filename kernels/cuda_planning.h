#pragma once
// What the CUDA back end takes of a device beside the tensors, for the memory plan. No GPU and no toolkit is needed.

#include <cstdint>
#include <memory>

#include "kernels/kernels.h"

namespace baekji {

/// cuBLASLt's workspace (NVIDIA advises 32 MiB on Hopper: cuBLAS documentation, cublasSetWorkspace; algorithms are
/// chosen by it, so another size may give other bits), and what norms, sorting, attention and the optimizer's tables
/// use of the queue's scratch memory at most: the larger uses are sized by the caller's shapes and counted by them.
inline constexpr std::int64_t kCudaMatmulWorkspaceBytes = std::int64_t{32} << 20;
inline constexpr std::int64_t kCudaScratchBytes = std::int64_t{64} << 20;

/// Answers the questions of the memory plan as the CUDA kernels do, and computes nothing: every operation throws.
std::unique_ptr<Kernels> make_cuda_planning_kernels();

}  // namespace baekji
