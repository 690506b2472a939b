// CudaAttention where cuDNN cannot run: the reference's arithmetic on the stand-in's memory, within cuDNN's limits.

#include "kernels/cuda/attention.h"

#include "kernels/reference/attention.h"

namespace baekji::cuda {
namespace {

// The stand-in's memory is memory of this process, which opens while a DeviceAccess lives.
Tensor on_host(const Tensor& tensor) {
  return tensor.defined() ? tensor.relocated(tensor.data(), Device{}) : tensor;
}

void require_cudnn(const Tensor& q_BTHD, std::string_view operation) {
  const bool served = q_BTHD.type() == DType::kBfloat16 && q_BTHD.dim(3) % 8 == 0 && !q_BTHD.device().is_host();
  if (served) return;
  throw Error("attention on the GPU is bf16, with a head width that 8 divides")
      .values("bf16 on the device", q_BTHD.describe())
      .at(operation);
}

}  // namespace

struct CudaAttention::State {};

CudaAttention::CudaAttention(Queue& /*queue*/) {}
CudaAttention::~CudaAttention() = default;

void CudaAttention::forward(const AttentionForwardArgs& args) {
  check_arguments(args);
  require_cudnn(args.q_BTHD, "attention_forward");
  const cuda_on_cpu::DeviceAccess access;
  reference::attention_forward<float>({.q_BTHD = on_host(args.q_BTHD),
                                       .k_BTKD = on_host(args.k_BTKD),
                                       .v_BTKD = on_host(args.v_BTKD),
                                       .y_BTHD = on_host(args.y_BTHD),
                                       .lse_BHT = on_host(args.lse_BHT),
                                       .first_BT = on_host(args.first_BT),
                                       .scale = args.scale});
}

void CudaAttention::backward(const AttentionBackwardArgs& args) {
  check_arguments(args);
  require_cudnn(args.q_BTHD, "attention_backward");
  const cuda_on_cpu::DeviceAccess access;
  reference::attention_backward<float>({.q_BTHD = on_host(args.q_BTHD),
                                        .k_BTKD = on_host(args.k_BTKD),
                                        .v_BTKD = on_host(args.v_BTKD),
                                        .y_BTHD = on_host(args.y_BTHD),
                                        .lse_BHT = on_host(args.lse_BHT),
                                        .first_BT = on_host(args.first_BT),
                                        .dy_BTHD = on_host(args.dy_BTHD),
                                        .dq_BTHD = on_host(args.dq_BTHD),
                                        .dk_BTKD = on_host(args.dk_BTKD),
                                        .dv_BTKD = on_host(args.dv_BTKD),
                                        .scale = args.scale});
}

std::string CudaAttention::describe() const {
  return "reference attention on the stand-in";
}

}  // namespace baekji::cuda
