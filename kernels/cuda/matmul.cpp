// Products, their descriptors and their workspace.
//
// Fused epilogues: cuBLASLt can add a bias, apply ReLU or GELU, and note the largest magnitude of an 8-bit output. None
// helps here. The linear layers have no bias; the activation is SwiGLU, a product of two outputs; the residual joins in
// the grain tree, after the leaf was rounded to the compute type, and adding it inside the product would skip that
// rounding where one slice is all there is; outputs are bf16 or fp32, so the largest magnitude has to be found
// elsewhere. What is fused is the accumulation of weight gradients: beta = 1, the output in the place of the input.

#include "kernels/cuda/matmul.h"

#include <algorithm>
#include <limits>
#include <map>

#include "core/cuda_check.h"
#include "core/device_cuda.h"
#include "kernels/cuda/event.h"
#include "kernels/cuda/matmul_algorithms.h"

namespace baekji::cuda {
namespace {

struct Prepared {
  MatmulDescriptors descriptors;
  MatmulAlgorithm algorithm;
};

}  // namespace

struct CudaMatmul::State {
  State(Queue& on, std::string_view text) : queue(on), table(text) {
    const CudaInfo info = cuda_info(queue.device());
    context.multiprocessors = info.multiprocessors;
    context.setting = fmt::format("cublasLt {}, sm_{}{}, {} multiprocessors", cublasLtGetVersion(), info.major,
                                  info.minor, info.multiprocessors);
    workspace = allocate_memory(queue.device(), kCudaMatmulWorkspaceBytes);
    if (workspace == nullptr) {
      throw Error("out of memory")
          .values(fmt::format("{} bytes of workspace for matrix products", kCudaMatmulWorkspaceBytes), "refused")
          .at(queue.device().describe())
          .hint("use a smaller micro_batch, or a larger tensor or pipeline degree");
    }
    const cublasStatus_t status = cublasLtCreate(&context.handle);
    if (status != CUBLAS_STATUS_SUCCESS) free_memory(queue.device(), workspace, kCudaMatmulWorkspaceBytes);
    check_cublas(status, "cublasLtCreate", queue.device().describe());
  }
  ~State() {
    cudaStreamSynchronize(queue.stream());
    problems.clear();
    cublasLtDestroy(context.handle);
    free_memory(queue.device(), workspace, kCudaMatmulWorkspaceBytes);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // Where the scales are. They are part of the description, and must be there when the library is asked for algorithms.
  static void point_to_scales(const MatmulArgs& args, const MatmulDescriptors& descriptors) {
    const auto point = [&](cublasLtMatmulDescAttributes_t attribute, const Tensor& scale) {
      const void* const at = scale.data();
      check_cublas(cublasLtMatmulDescSetAttribute(descriptors.operation.get(), attribute, &at, sizeof at),
                   "cublasLtMatmulDescSetAttribute", "a scale of a product of 8 bits");
    };
    point(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, args.scale_b);
    point(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, args.scale_a);
  }

  const Prepared& prepare(const MatmulProblem& problem, const MatmulArgs& args) {
    const auto found = problems.find(problem);
    if (found != problems.end()) {
      if (problem.is_8_bit()) point_to_scales(args, found->second.descriptors);
      return found->second;
    }
    MatmulDescriptors descriptors(problem, context);
    if (problem.is_8_bit()) point_to_scales(args, descriptors);
    const MatmulAlgorithm algorithm = choose_algorithm(problem, descriptors, context, table);
    return problems.emplace(problem, Prepared{std::move(descriptors), algorithm}).first->second;
  }

  void start(const MatmulProblem& problem, const MatmulArgs& args, const MatmulDescriptors& descriptors,
             const MatmulAlgorithm& algorithm) const {
    const float one = 1;
    const float beta = problem.accumulate ? 1 : 0;
    const cublasStatus_t status =
        cublasLtMatmul(context.handle, descriptors.operation.get(), &one, args.b.data(), descriptors.first.get(),
                       args.a.data(), descriptors.second.get(), &beta, args.c.data(), descriptors.output.get(),
                       args.c.data(), descriptors.output.get(), &algorithm.packed, workspace,
                       static_cast<std::size_t>(kCudaMatmulWorkspaceBytes), queue.stream());
    if (status != CUBLAS_STATUS_SUCCESS) check_cublas(status, "cublasLtMatmul", "matmul " + problem.describe());
  }

  Queue& queue;
  MatmulTable table;
  CublasContext context;
  void* workspace = nullptr;
  std::map<MatmulProblem, Prepared> problems;
};

CudaMatmul::CudaMatmul(Queue& queue) : CudaMatmul(queue, built_in_matmul_table()) {}
CudaMatmul::CudaMatmul(Queue& queue, std::string_view table) : state_(std::make_unique<State>(queue, table)) {}
CudaMatmul::~CudaMatmul() = default;

void CudaMatmul::run(const MatmulArgs& args) {
  const MatmulProblem problem = problem_of(args, state_->queue.device());
  if (args.c.size() == 0) return;
  if (problem.inner == 0) {  // a sum of nothing
    if (problem.accumulate) return;
    const std::int64_t element_bytes = size_of(problem.c.type);
    check_cuda(cudaMemset2DAsync(args.c.data(), static_cast<std::size_t>(problem.c.row_elements * element_bytes), 0,
                                 static_cast<std::size_t>(problem.columns * element_bytes),
                                 static_cast<std::size_t>(problem.rows), state_->queue.stream()),
               "cudaMemset2DAsync");
    return;
  }
  const Prepared& prepared = state_->prepare(problem, args);
  state_->start(problem, args, prepared.descriptors, prepared.algorithm);
}

std::string CudaMatmul::describe() const {
  return fmt::format("cublasLt {}, rule {}, table of {} algorithms {}", cublasLtGetVersion(), matmul_rule_digest(),
                     state_->table.size(), state_->table.digest().substr(0, 12));
}

std::string CudaMatmul::algorithms() const {
  std::string text;
  for (const auto& [problem, prepared] : state_->problems) {
    text += MatmulTable::line(problem, prepared.algorithm, state_->context) + "\n";
  }
  return text;
}

std::vector<CudaMatmul::TimedAlgorithm> CudaMatmul::time_algorithms(const MatmulArgs& args, int rounds) {
  const MatmulProblem problem = problem_of(args, state_->queue.device());
  const MatmulDescriptors descriptors(problem, state_->context);
  if (problem.is_8_bit()) State::point_to_scales(args, descriptors);
  Event begin;
  Event end;
  std::vector<TimedAlgorithm> times;
  for (const MatmulCandidate& candidate : propose_algorithms(problem, descriptors, state_->context)) {
    if (!candidate.refusal.empty()) continue;
    double best_ms = std::numeric_limits<double>::infinity();
    for (int round = -1; round < rounds; ++round) {  // one to warm up
      begin.record(state_->queue.stream());
      state_->start(problem, args, descriptors, candidate.algorithm);
      end.record(state_->queue.stream());
      const double time_ms = end.milliseconds_since(begin);
      if (round >= 0) best_ms = std::min(best_ms, time_ms);
    }
    times.push_back(
        {.line = MatmulTable::line(problem, candidate.algorithm, state_->context), .microseconds = best_ms * 1e3});
  }
  return times;
}

std::int64_t CudaMatmul::scratch_bytes() const {
  return kCudaMatmulWorkspaceBytes;
}

}  // namespace baekji::cuda
