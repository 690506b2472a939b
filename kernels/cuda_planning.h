#pragma once
// What the CUDA back end takes of a device beside the tensors, for the memory plan. No GPU and no toolkit is needed.

#include <cstdint>
#include <memory>

#include "kernels/kernels.h"

namespace baekji {

/// cuBLASLt's workspace (NVIDIA advises 32 MiB on Hopper: cuBLAS documentation, cublasSetWorkspace; algorithms are
/// chosen by it, so another size may give other bits).
inline constexpr std::int64_t kCudaMatmulWorkspaceBytes = std::int64_t{32} << 20;

/// No less than cuDNN 9.19 asks for, forward or backward, on a device of this compute capability (measured against
/// cuDNN itself: tests/cuda/attention_graph_test.cpp), nor than our own attention takes. On Hopper it is quadratic in
/// the context: the deterministic backward pass stores the gradients of all scores.
std::int64_t cuda_attention_scratch_bytes(const WorkShape& shape, int compute_major);
/// Our own attention alone: a sum for each row.
std::int64_t cuda_own_attention_scratch_bytes(std::int64_t sequences, std::int64_t heads, std::int64_t context);
/// The additive bias that a document mask becomes for cuDNN: [B, 1, T, T] in bf16.
std::int64_t cuda_attention_bias_bytes(std::int64_t sequences, std::int64_t context);

/// All working memory: operations run one after another and share the largest of theirs; the workspace is apart.
std::int64_t cuda_scratch_bytes(const WorkShape& shape, int compute_major);

/// Answers the questions of the memory plan as the CUDA kernels of a Hopper device do, and computes nothing.
std::unique_ptr<Kernels> make_cuda_planning_kernels();

}  // namespace baekji
