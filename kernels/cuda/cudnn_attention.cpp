#include "kernels/cuda/cudnn_attention.h"

#include <bit>
#include <map>

#include "core/device_cuda.h"
#include "kernels/cuda/cudnn_plan.h"
#include "kernels/cuda/document_bias.h"
#include "kernels/cuda_planning.h"

namespace baekji::cuda {
namespace {

// The first cuDNN whose backward pass is deterministic on Hopper and on Blackwell: docs/cuda.md, "Attention".
constexpr std::size_t kLeastCudnn = 91801;
// cuDNN loads rows with instructions for 16 bytes.
constexpr std::uintptr_t kAlignment = 16;
constexpr std::int64_t kAlignedElements = 8;
// A document mask that takes more than this is our own kernel's.
constexpr std::int64_t kMostBiasBytes = std::int64_t{1} << 30;
constexpr std::int64_t kMemoryAlignment = 256;

void check_cudnn(cudnnStatus_t status, const std::string& what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw Error(fmt::format("cuDNN failed in {}", what)).values("success", cudnnGetErrorString(status));
}

std::string version_text(std::size_t version) {
  return fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

HeadStrides strides_of(const Tensor& x_BTHD) {
  return {.sequence = x_BTHD.stride(0), .row = x_BTHD.stride(1), .head = x_BTHD.stride(2)};
}

bool is_aligned(const Tensor& x_BTHD) {
  return std::bit_cast<std::uintptr_t>(x_BTHD.data()) % kAlignment == 0 && x_BTHD.stride(0) % kAlignedElements == 0 &&
         x_BTHD.stride(1) % kAlignedElements == 0 && x_BTHD.stride(2) % kAlignedElements == 0;
}

template <class Args>
AttentionProblem problem_of(const Args& args) {
  return {.document_mask = args.first_BT.defined(),
          .sequences = args.q_BTHD.dim(0),
          .tokens = args.q_BTHD.dim(1),
          .heads = args.q_BTHD.dim(2),
          .kv_heads = args.k_BTKD.dim(2),
          .width = args.q_BTHD.dim(3),
          .q = strides_of(args.q_BTHD),
          .k = strides_of(args.k_BTKD),
          .v = strides_of(args.v_BTKD),
          .y = strides_of(args.y_BTHD),
          .scale = static_cast<float>(args.scale)};
}

template <class Args>
bool serves(const Args& args, int compute_major) {
  const Tensor& q = args.q_BTHD;
  const std::int64_t widest = compute_major == 9 ? 256 : compute_major == 10 ? 128 : 0;
  const bool shape = q.type() == DType::kBfloat16 && q.dim(1) == args.k_BTKD.dim(1) && q.dim(1) > 1 &&
                     q.dim(3) <= widest && q.dim(3) % kAlignedElements == 0 && args.lse_BHT.contiguous();
  const bool mask = !args.first_BT.defined() || (q.dim(1) % kAlignedElements == 0 &&
                                                 cuda_attention_bias_bytes(q.dim(0), q.dim(1)) <= kMostBiasBytes);
  return shape && mask && is_aligned(q) && is_aligned(args.k_BTKD) && is_aligned(args.v_BTKD) &&
         is_aligned(args.y_BTHD);
}

template <class Args>
AttentionPointers pointers_of(const Args& args) {
  return {.q = args.q_BTHD.data(),
          .k = args.k_BTKD.data(),
          .v = args.v_BTKD.data(),
          .y = args.y_BTHD.data(),
          .lse = args.lse_BHT.data()};
}

}  // namespace

struct CudnnAttention::State {
  explicit State(Queue& q) : queue(q), info(cuda_info(q.device())) {
    const std::size_t version = cudnnGetVersion();
    if (version < kLeastCudnn) {
      throw Error("cuDNN is too old: its attention is not deterministic")
          .values(fmt::format("{} or later", version_text(kLeastCudnn)), version_text(version))
          .at(queue.device().describe())
          .hint("scripts/setup --cuda installs one");
    }
    check_cudnn(cudnnCreate(&handle), "cudnnCreate");
    check_cudnn(cudnnSetStream(handle, queue.stream()), "cudnnSetStream");
  }
  ~State() {
    plans.clear();
    cudnnDestroy(handle);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void run(const AttentionProblem& problem, AttentionPointers pointers, const Tensor& first_BT) {
    auto plan = plans.find(problem);
    if (plan == plans.end()) {
      auto built = std::make_unique<CudnnPlan>(problem, info.major * 10 + info.minor);
      built->build(handle);
      plan = plans.emplace(problem, std::move(built)).first;
    }
    const std::int64_t bias = problem.document_mask ? cuda_attention_bias_bytes(problem.sequences, problem.tokens) : 0;
    auto* const scratch = static_cast<std::byte*>(queue.scratch(bias + plan->second->workspace_bytes()));
    if (problem.document_mask) {
      pointers.bias = scratch;
      write_document_bias(first_BT, static_cast<Bfloat16*>(pointers.bias), queue);
    }
    plan->second->run(handle, pointers, scratch + bias);
  }

  Queue& queue;
  CudaInfo info;
  cudnnHandle_t handle = nullptr;
  std::map<AttentionProblem, std::unique_ptr<CudnnPlan>> plans;
};

CudnnAttention::CudnnAttention(Queue& queue) : state_(std::make_unique<State>(queue)) {}
CudnnAttention::~CudnnAttention() = default;

bool CudnnAttention::supports(const AttentionForwardArgs& args) const {
  return serves(args, state_->info.major);
}
bool CudnnAttention::supports(const AttentionBackwardArgs& args) const {
  return serves(args, state_->info.major) && is_aligned(args.dy_BTHD) && is_aligned(args.dq_BTHD) &&
         is_aligned(args.dk_BTKD) && is_aligned(args.dv_BTKD);
}

void CudnnAttention::forward(const AttentionForwardArgs& args) {
  state_->run(problem_of(args), pointers_of(args), args.first_BT);
}

void CudnnAttention::backward(const AttentionBackwardArgs& args) {
  AttentionProblem problem = problem_of(args);
  problem.backward = true;
  problem.dy = strides_of(args.dy_BTHD);
  problem.dq = strides_of(args.dq_BTHD);
  problem.dk = strides_of(args.dk_BTKD);
  problem.dv = strides_of(args.dv_BTKD);
  AttentionPointers pointers = pointers_of(args);
  pointers.dy = args.dy_BTHD.data();
  pointers.dq = args.dq_BTHD.data();
  pointers.dk = args.dk_BTKD.data();
  pointers.dv = args.dv_BTKD.data();
  state_->run(problem, pointers, args.first_BT);
}

std::string CudnnAttention::describe() const {
  std::string plans;
  for (const auto& [problem, plan] : state_->plans) {
    plans += fmt::format("{}{}: {}", plans.empty() ? "" : ", ", problem.describe(), plan->name());
  }
  return fmt::format("{}{}{}{}", version_text(cudnnGetVersion()), plans.empty() ? "" : " (", plans,
                     plans.empty() ? "" : ")");
}

}  // namespace baekji::cuda
