#include "kernels/cuda/cudnn_plan.h"

#include <cudnn_frontend.h>

#include <unordered_map>
#include <vector>

namespace baekji::cuda {
namespace {

namespace fe = cudnn_frontend;
using Attributes = fe::graph::Tensor_attributes;
using GraphTensor = std::shared_ptr<Attributes>;

// Names of a graph's tensors for its runs.
enum Uid : std::int64_t { kQ = 1, kK, kV, kY, kLse, kBias, kDy, kDq, kDk, kDv };

std::vector<std::int64_t> strides_of(const HeadStrides& s) {
  return {s.sequence, s.head, s.row, 1};
}

Error plan_error(const AttentionProblem& problem, const std::string& step, const std::string& message) {
  return Error(fmt::format("cuDNN refused an attention plan in {}", step))
      .values("a deterministic plan", message)
      .at(problem.describe())
      .hint("CUDNN_LOGLEVEL_DBG=2 CUDNN_LOGDEST_DBG=stderr shows more");
}

}  // namespace

std::string AttentionProblem::describe() const {
  return fmt::format("attention {} B{} T{} H{} K{} D{}{}", backward ? "backward" : "forward", sequences, tokens, heads,
                     kv_heads, width, document_mask ? " with documents" : "");
}

struct CudnnPlan::State {
  AttentionProblem problem;
  fe::graph::Graph graph;

  // cuDNN's order of dims is B, H, T, D.
  GraphTensor input(Uid uid, const std::string& name, std::int64_t heads, const HeadStrides& strides) {
    return graph.tensor(Attributes()
                            .set_name(name)
                            .set_uid(uid)
                            .set_dim({problem.sequences, heads, problem.tokens, problem.width})
                            .set_stride(strides_of(strides)));
  }
  void output(const GraphTensor& tensor, Uid uid, const std::string& name, std::int64_t heads,
              const HeadStrides& strides) const {
    tensor->set_name(name)
        .set_uid(uid)
        .set_output(true)
        .set_dim({problem.sequences, heads, problem.tokens, problem.width})
        .set_stride(strides_of(strides));
  }
  void shape_lse(Attributes& lse) const {
    lse.set_name("lse")
        .set_uid(kLse)
        .set_data_type(fe::DataType_t::FLOAT)
        .set_dim({problem.sequences, problem.heads, problem.tokens, 1})
        .set_stride({problem.heads * problem.tokens, problem.tokens, 1, 1});
  }
  GraphTensor bias() {
    const std::int64_t tokens = problem.tokens;
    return graph.tensor(Attributes()
                            .set_name("bias")
                            .set_uid(kBias)
                            .set_dim({problem.sequences, 1, tokens, tokens})
                            .set_stride({tokens * tokens, tokens * tokens, tokens, 1}));
  }
  // Causal: what is right of the diagonal that begins at the top left is hidden.
  template <class Options>
  Options options(const std::string& name) {
    Options options;
    options.set_name(name)
        .set_attn_scale(problem.scale)
        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
    if (problem.document_mask) options.set_bias(bias());
    return options;
  }

  void add_forward() {
    const GraphTensor q = input(kQ, "q", problem.heads, problem.q);
    const GraphTensor k = input(kK, "k", problem.kv_heads, problem.k);
    const GraphTensor v = input(kV, "v", problem.kv_heads, problem.v);
    auto [y, lse] = graph.sdpa(q, k, v, options<fe::graph::SDPA_attributes>("forward").set_generate_stats(true));
    output(y, kY, "y", problem.heads, problem.y);
    shape_lse(*lse);
    lse->set_output(true);
  }
  void add_backward() {
    const GraphTensor q = input(kQ, "q", problem.heads, problem.q);
    const GraphTensor k = input(kK, "k", problem.kv_heads, problem.k);
    const GraphTensor v = input(kV, "v", problem.kv_heads, problem.v);
    const GraphTensor y = input(kY, "y", problem.heads, problem.y);
    const GraphTensor dy = input(kDy, "dy", problem.heads, problem.dy);
    Attributes stats;
    shape_lse(stats);
    const GraphTensor lse = graph.tensor(stats);
    auto [dq, dk, dv] =
        graph.sdpa_backward(q, k, v, y, dy, lse,
                            options<fe::graph::SDPA_backward_attributes>("backward").set_deterministic_algorithm(true));
    output(dq, kDq, "dq", problem.heads, problem.dq);
    output(dk, kDk, "dk", problem.kv_heads, problem.dk);
    output(dv, kDv, "dv", problem.kv_heads, problem.dv);
  }

  void require(fe::error_object status, const std::string& step) const {
    if (status.is_bad()) throw plan_error(problem, step, status.get_message());
  }
};

CudnnPlan::CudnnPlan(const AttentionProblem& problem, int compute_capability) : state_(std::make_unique<State>()) {
  state_->problem = problem;
  state_->graph.set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT)
      .set_sm_version(compute_capability);  // before the first operation, which keeps a copy
  if (problem.backward)
    state_->add_backward();
  else
    state_->add_forward();
}

CudnnPlan::~CudnnPlan() = default;

void CudnnPlan::build(cudnnHandle_t handle) {
  fe::graph::Graph& graph = state_->graph;
  state_->require(graph.validate(), "validate");
  state_->require(graph.build_operation_graph(handle), "build_operation_graph");
  state_->require(graph.create_execution_plans({fe::HeurMode_t::A}), "create_execution_plans");
  graph.deselect_numeric_notes({fe::NumericalNote_t::NONDETERMINISTIC});
  state_->require(graph.check_support(), "check_support");
  state_->require(graph.build_plans(), "build_plans");
}

std::int64_t CudnnPlan::workspace_bytes() const {
  std::int64_t bytes = 0;
  state_->require(state_->graph.get_workspace_size(bytes), "get_workspace_size");
  return bytes;
}

std::string CudnnPlan::name() const {
  std::string name;
  state_->require(state_->graph.get_plan_name(name), "get_plan_name");
  return name;
}

void CudnnPlan::run(cudnnHandle_t handle, const AttentionPointers& tensors, void* workspace) const {
  std::unordered_map<std::int64_t, void*> pointers{
      {kQ, tensors.q}, {kK, tensors.k}, {kV, tensors.v}, {kY, tensors.y}, {kLse, tensors.lse}};
  if (state_->problem.document_mask) pointers[kBias] = tensors.bias;
  if (state_->problem.backward) {
    pointers[kDy] = tensors.dy;
    pointers[kDq] = tensors.dq;
    pointers[kDk] = tensors.dk;
    pointers[kDv] = tensors.dv;
  }
  state_->require(state_->graph.execute(handle, pointers, workspace), "execute");
}

PlanCheck CudnnPlan::check(const std::string& device_json, std::int64_t workspace_bytes) {
  PlanCheck check;
  fe::graph::Graph& graph = state_->graph;
  const auto good = [&](fe::error_object status) {
    check.stopped = status.get_message();
    return status.is_good();
  };
  const auto device = std::make_shared<fe::DeviceProperties>();
  if (!good(device->deserialize({device_json.begin(), device_json.end()}))) return check;
  graph.set_device_properties(device);
  check.valid = good(graph.validate());
  check.lowered = check.valid && good(graph.build_operation_graph());
  check.proposed = check.lowered && good(graph.create_execution_plans({fe::HeurMode_t::A}));
  if (!check.proposed) return check;
  graph.deselect_workspace_greater_than(workspace_bytes);
  graph.deselect_numeric_notes({fe::NumericalNote_t::NONDETERMINISTIC});
  check.supported = good(graph.check_support());
  return check;
}

}  // namespace baekji::cuda
