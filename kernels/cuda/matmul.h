#pragma once
// Matrix products on the GPU through cuBLASLt.

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

/// One problem (shapes, leading dimensions, types, transposes, accumulation) has one algorithm for the life of a build:
/// no split of the inner dim, no atomics, no stream-K, so that the same problem gives the same bits in every layout.
class CudaMatmul {
 public:
  explicit CudaMatmul(Queue& queue);
  ~CudaMatmul();

  /// bf16, fp32 (no TF32) or 8-bit operands, fp32 accumulation, bf16 or fp32 results. Throws Error on shapes or types
  /// that do not go together.
  void run(const MatmulArgs& args);

  /// Library version, and how algorithms are chosen, for the kernel set.
  std::string describe() const;
  /// The library's workspace.
  std::int64_t scratch_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baekji::cuda
