// CudaMatmul until kernels/cuda/matmul.cpp is there. Temporary, as missing.cpp is.

#include "core/error.h"
#include "kernels/cuda/matmul.h"

namespace baekji::cuda {

struct CudaMatmul::State {};

CudaMatmul::CudaMatmul(Queue& /*queue*/) {}
CudaMatmul::~CudaMatmul() = default;

void CudaMatmul::run(const MatmulArgs& /*args*/) {
  throw Error("matmul has no CUDA kernel yet");
}
std::string CudaMatmul::describe() const {
  return "no matmul yet";
}
std::int64_t CudaMatmul::scratch_bytes() const {
  return 0;
}

}  // namespace baekji::cuda
