#include "trainer/planner.h"

#include <algorithm>
#include <map>
#include <memory>

#include "core/thread_pool.h"
#include "plan/peer_memory.h"
#include "plan/proof_bill.h"
#include "trainer/engine.h"
#include "trainer/layout.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"

namespace baekji {
namespace {

// CUDA's context, cuBLASLt, cuDNN and NCCL with a dozen groups: assumed, not measured.
constexpr double kContextGib = 2;

std::vector<std::int64_t> layers_of(std::span<const StageRange> ranges) {
  std::vector<std::int64_t> layers;
  for (const StageRange& range : ranges) layers.push_back(range.layers);
  return layers;
}

Precision precision_of(const NumericsConfig& numerics) {
  if (numerics.precision == "fp32") return Precision::kFloat32;
  return numerics.precision == "fp8" ? Precision::kFloat8 : Precision::kBfloat16;
}

}  // namespace

double room_bytes(const Cluster& cluster) {
  const double context = cluster.device.kind == "cuda" ? kContextGib : 0;
  return (cluster.device.memory_gib - context) * kBytesPerGib;
}

Workload workload_of(const Experiment& e, const TrainingStage& stage) {
  Workload w;
  w.model = {.layers = e.model.layers,
             .hidden = e.model.hidden,
             .heads = e.model.heads,
             .kv_heads = e.model.kv_heads,
             .head_width = e.model.head_width(),
             .ffn = e.model.ffn,
             .gate = 2,
             .vocab = e.model.padded_vocab(e.numerics.tensor_grains),
             .tied_embeddings = e.model.tied_embeddings};
  w.layout = {.tensor = e.layout.tensor,
              .data = e.layout.data,
              .pipeline = e.layout.pipeline,
              .virtual_stages = e.layout.virtual_stages,
              .schedule = e.layout.schedule,
              .zero = e.layout.zero,
              .recompute = recompute_of(e.layout)};
  w.layout.layers_per_stage = layers_of(stage_ranges(e));
  w.precision = precision_of(e.numerics);
  w.sequence = stage.context;
  w.micro_batch = stage.micro_batch;
  w.global_batch = stage.global_batch;
  w.replicas = e.numerics.replicas;
  w.slices = e.numerics.tensor_grains / e.layout.tensor;
  return w;
}

LayersOf trainer_layers(const Experiment& e) {
  // Copies of a std::function share what is known.
  const auto known = std::make_shared<std::map<std::int64_t, std::vector<std::int64_t>>>();
  return [&e, known](const Workload& w) {
    const std::int64_t stages = w.layout.pipeline * w.layout.virtual_stages;
    std::vector<std::int64_t>& layers = (*known)[stages];
    if (layers.empty()) layers = layers_of(partition_layers(e.model, stages, {}, e.place));
    return layers;
  };
}

Experiment with_candidate(const Experiment& experiment, const Candidate& c) {
  Experiment e = experiment;
  const ParallelLayout& l = c.workload.layout;
  e.layout.tensor = l.tensor;
  e.layout.data = l.data;
  e.layout.pipeline = l.pipeline;
  e.layout.virtual_stages = l.virtual_stages;
  e.layout.schedule = l.schedule;
  e.layout.schedule_file.clear();
  e.layout.layers_per_stage = l.layers_per_stage;
  e.layout.zero = l.zero;
  e.layout.recompute = word_of(l.recompute);
  e.numerics.tensor_grains = c.tensor_grains;
  e.numerics.replicas = c.workload.replicas;
  e.numerics.micro_batch = c.workload.micro_batch;
  for (TrainingStage& stage : e.stages) stage.micro_batch = c.workload.micro_batch;
  return e;
}

namespace {

RankPlan peer_plan(const Workload& workload, const ImplementationProfile& profile, std::int64_t pipeline_rank) {
  const PeerMemory m = peer_memory(workload, profile, pipeline_rank);
  RankPlan plan{.pipeline_rank = pipeline_rank, .parts = {}, .total_bytes = 0};
  const auto add = [&](const char* name, double bytes) {
    plan.parts.emplace_back(name, static_cast<std::int64_t>(bytes));
    plan.total_bytes += plan.parts.back().second;
  };
  add("weights, gradients, optimizer", m.states);
  add("gathered layers", m.gathered);
  add("saved activations", m.saved);
  add("block computed again", m.recomputed);
  add("logits", m.logits);
  // A device's room leaves out the context already (room_bytes).
  add("libraries and allocator", std::max(0.0, m.overhead - kContextGib * kBytesPerGib));
  return plan;
}

// Plans ranks of one experiment under a profile.
class RankPlanner {
 public:
  RankPlanner(const Experiment& e, const ImplementationProfile& profile)
      : e_(e), profile_(profile), pool_(1), kernels_(make_planning_kernels(e.layout, pool_)) {}

  RankPlan plan(std::int64_t pipeline_rank) {
    if (!profile_.is_ours()) return peer_plan(workload_of(e_, e_.stages.front()), profile_, pipeline_rank);
    const MemoryPlan memory = memory_plan(e_, *kernels_, {.at = {.pipeline = pipeline_rank}});
    RankPlan plan{.pipeline_rank = pipeline_rank, .parts = {}, .total_bytes = memory.device->total_bytes()};
    for (const Arena::Row& row : memory.device->rows()) plan.parts.emplace_back(row.category, row.size_bytes);
    return plan;
  }

 private:
  const Experiment& e_;
  const ImplementationProfile& profile_;
  ThreadPool pool_;
  std::unique_ptr<Kernels> kernels_;
};

}  // namespace

std::vector<RankPlan> rank_plans(const Experiment& e, const ImplementationProfile& profile) {
  RankPlanner planner(e, profile);
  std::vector<RankPlan> plans;
  for (std::int64_t p = 0; p < e.layout.pipeline; ++p) plans.push_back(planner.plan(p));
  return plans;
}

double bytes_unless_more(const Experiment& e, const ImplementationProfile& profile, double room_bytes) {
  const std::int64_t last = e.layout.pipeline - 1;
  RankPlanner planner(e, profile);
  double most = 0;
  for (std::int64_t i = 0; i <= last && most <= room_bytes; ++i) {
    const std::int64_t pipeline_rank = i == 0 ? 0 : i == 1 ? last : i - 1;
    most = std::max(most, static_cast<double>(planner.plan(pipeline_rank).total_bytes));
  }
  return most;
}

std::int64_t steps_of(const Experiment& e, std::size_t stage) {
  const bool last = stage + 1 == e.stages.size();
  const std::int64_t end = last ? e.run.steps : std::min(e.stages[stage + 1].from_step - 1, e.run.steps);
  return std::max<std::int64_t>(0, end - e.stages[stage].from_step + 1);
}

RunForecast forecast_run_of(const Experiment& e, const Cluster& cluster, const ImplementationProfile& profile) {
  double training_s = 0;
  for (std::size_t i = 0; i < e.stages.size(); ++i) {
    const std::int64_t steps = steps_of(e, i);
    if (steps == 0) continue;
    const Workload w = workload_of(e, e.stages[i]);
    training_s += static_cast<double>(steps) * forecast_step({w, cluster, profile}).step_s;
  }
  const double state = 12.0 * static_cast<double>(parameter_count(e.model));
  const std::int64_t devices = e.layout.mesh().size();
  // A save beside training copies what a rank owns; one that is not writes it.
  const double owned = state / static_cast<double>(devices);
  const double copy_s = owned / (cluster.device.memory_gb_s * 1e9);
  // Device memory leaves over its link; on the CPU it is copied in place.
  const double leave_s = cluster.device.kind == "cuda" ? owned / link_bytes_s(cluster) : 2 * copy_s;
  return forecast_run({.steps = e.run.steps,
                       .training_s = training_s,
                       .devices = devices,
                       .state_bytes = state,
                       .stall_s = e.run.async_save ? leave_s : leave_s + state / (cluster.storage.write_gb_s * 1e9),
                       .checkpoint_every = e.run.checkpoint_every,
                       .cluster = cluster});
}

}  // namespace baekji
