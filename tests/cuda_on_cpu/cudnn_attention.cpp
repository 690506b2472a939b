// CudnnAttention where there is no cuDNN: it serves nothing, so that our own kernels take every call.

#include "kernels/cuda/cudnn_attention.h"

namespace baekji::cuda {

struct CudnnAttention::State {};

CudnnAttention::CudnnAttention(Queue& /*queue*/) {}
CudnnAttention::~CudnnAttention() = default;

bool CudnnAttention::supports(const AttentionForwardArgs& /*args*/) const {
  return false;
}
bool CudnnAttention::supports(const AttentionBackwardArgs& /*args*/) const {
  return false;
}
void CudnnAttention::forward(const AttentionForwardArgs& /*args*/) {
  throw Error("no cuDNN on the CPU");
}
void CudnnAttention::backward(const AttentionBackwardArgs& /*args*/) {
  throw Error("no cuDNN on the CPU");
}
std::string CudnnAttention::describe() const {
  return "no cuDNN";
}

}  // namespace baekji::cuda
