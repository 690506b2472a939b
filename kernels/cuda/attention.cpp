#include "kernels/cuda/attention.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda/own_attention.h"

namespace baekji::cuda {
namespace {

void require_attention(std::initializer_list<const Tensor*> tensors, const Tensor& lse, const Tensor& first,
                       Device device, std::string_view operation) {
  const Tensor& q = **tensors.begin();
  for (const Tensor* t : tensors) {
    const bool known = q.type() == DType::kFloat32 || q.type() == DType::kBfloat16;
    if (known && t->type() == q.type() && t->device() == device) continue;
    throw Error("no attention for these tensors on the GPU")
        .values(fmt::format("all fp32, or all bf16, on {}", device.describe()),
                fmt::format("{} and {}", q.describe(), t->describe()))
        .at(operation);
  }
  if (lse.type() != DType::kFloat32 || lse.device() != device) {
    throw Error("lse must be fp32 on the device")
        .values(fmt::format("fp32 on {}", device.describe()), lse.describe())
        .at(operation);
  }
  if (first.defined() && (first.type() != DType::kInt32 || first.device() != device)) {
    throw Error("first visible keys must be int32 on the device")
        .values(fmt::format("int32 on {}", device.describe()), first.describe())
        .at(operation);
  }
  if (q.dim(3) > kOwnAttentionWidth) {
    throw Error("the heads are too wide for attention on the GPU")
        .values(fmt::format("at most {}", kOwnAttentionWidth), fmt::format("{}", q.dim(3)))
        .at(operation)
        .hint("use more heads");
  }
}

}  // namespace

void CudaAttention::forward(const AttentionForwardArgs& args) {
  check_arguments(args);
  require_attention({&args.q_BTHD, &args.k_BTKD, &args.v_BTKD, &args.y_BTHD}, args.lse_BHT, args.first_BT,
                    queue_.device(), "attention_forward");
  if (args.q_BTHD.size() == 0) return;
  if (cudnn_.supports(args))
    cudnn_.forward(args);
  else
    own_attention_forward(args, queue_);
}

void CudaAttention::backward(const AttentionBackwardArgs& args) {
  check_arguments(args);
  require_attention({&args.q_BTHD, &args.k_BTKD, &args.v_BTKD, &args.y_BTHD, &args.dy_BTHD, &args.dq_BTHD,
                     &args.dk_BTKD, &args.dv_BTKD},
                    args.lse_BHT, args.first_BT, queue_.device(), "attention_backward");
  if (args.q_BTHD.size() == 0) return;
  if (cudnn_.supports(args))
    cudnn_.backward(args);
  else
    own_attention_backward(args, queue_);
}

std::string CudaAttention::describe() const {
  return fmt::format("attention: {}, else own kernels", cudnn_.describe());
}

}  // namespace baekji::cuda
