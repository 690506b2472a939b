#pragma once
// Engine: one experiment's computation on this rank: parameters, optimizer, stage and schedule, bound to memory. It
// knows nothing of files, ledgers or logs, so training and replay run the same steps.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/logical_tensor.h"
#include "data/loader.h"
#include "kernels/kernels.h"
#include "model/parameters.h"
#include "model/transformer_stage.h"
#include "parallel/grains.h"
#include "parallel/parameter_store.h"
#include "parallel/pipeline.h"
#include "parallel/rank_groups.h"
#include "parallel/schedule.h"
#include "parallel/sharded_optimizer.h"
#include "trainer/experiment.h"
#include "trainer/global_root.h"
#include "trainer/sequence_leaves.h"

namespace baekji {

/// What one optimizer step gave. Layout-free.
struct StepResult {
  double loss = 0;  ///< mean over the tokens of the global batch
  StepOutcome outcome;
  double learning_rate = 0;
  std::int64_t tokens = 0;
  Digest batch_root{};  ///< of the sequences as the ranks read them: docs/formats/batch-order.md
};

/// The activations, batches and schedule of one training stage's shape, on one rank.
class StageRuntime {
 public:
  struct Args {
    const Experiment& experiment;
    const TrainingStage& stage;
    const ModelParameters& declared;
    Kernels& kernels;
    ParameterStore& parameters;
    GrainTree& grains;
    std::int64_t pipeline_rank = 0;
  };
  StageRuntime(const Args& args, Arena& arena);

  /// Micro-batches are numbered from the first one of this rank's replicas.
  const Schedule& schedule() const { return schedule_; }
  std::span<const PipelineStage> stages() const { return pipeline_stages_; }
  std::span<const Tensor> gradients_NC() const { return gradients_NC_; }
  /// Where a virtual stage finds a micro-batch.
  const Batch& batch(std::int64_t virtual_stage, std::int64_t micro_batch) const {
    const std::vector<Batch>& slots = batches_[static_cast<std::size_t>(virtual_stage)];
    return slots[static_cast<std::size_t>(micro_batch) % slots.size()];
  }
  /// A micro-batch on the host, where the loader writes it; deliver() brings it to the kernels' device.
  const Batch& staged() const { return staged_; }
  void deliver(const Batch& to) const;
  /// fp64, a place for the loss of each sequence of the global batch.
  const Tensor& losses() const { return losses_; }

 private:
  void stage_on_host(const BatchShape& shape);

  Schedule schedule_;
  StageCommon common_;
  std::vector<std::unique_ptr<TransformerStage>> stages_;  // by virtual stage, as the others
  std::vector<PipelineStage> pipeline_stages_;
  std::vector<std::vector<Batch>> batches_;  // also by slot
  Kernels& kernels_;
  std::vector<std::int32_t> staged_ids_;
  Batch staged_;
  Tensor losses_;
  std::vector<Tensor> gradients_NC_;
};

class Engine {
 public:
  /// Binds weights and optimizer; activations follow with the first step (or evaluation) of each training stage.
  /// References outlive the engine. Everything below is collective over the ranks.
  Engine(const Experiment& experiment, const Loader& loader, Kernels& kernels, RankGroups& ranks)
      : Engine(experiment, &loader, kernels, ranks) {}
  /// For a rehearsal: memory is measured and no data read, so with kernels that compute nothing a step is what it asks
  /// of the ranks' groups.
  Engine(const Experiment& experiment, Kernels& kernels, RankGroups& ranks)
      : Engine(experiment, nullptr, kernels, ranks) {}

  /// The optimizer state that this rank holds, sorted by (name, slice): for genesis, checkpoints and the state root.
  std::span<const StateShard> shards() const { return optimizer_.shards(); }
  /// The part of it that this rank answers for: the ranks together answer for every chunk once.
  std::vector<StateShard> owned_shards() const;
  /// The state root of the whole model.
  Digest state_root(ThreadPool& pool) const {
    return global_state_root(owned_shards(), parameters_, ranks_.world(), pool);
  }
  /// The same from the leaves of this rank's part, of a state as it was when they were hashed.
  Digest state_root(std::span<const StateLeaf> hashed) const {
    return global_state_root(hashed, parameters_, ranks_.world());
  }
  /// Call after the state was written from outside.
  void state_changed() { parameters_.publish_weights(); }

  /// Optimizer step `step`; `update` counts the steps so far that were not void, and this one.
  StepResult step(std::int64_t step, std::int64_t update) { return this->step(step, update, step); }
  /// The same on another batch of the batch order than the step's own: after a rollback.
  StepResult step(std::int64_t step, std::int64_t update, std::int64_t batch);
  /// Mean loss per token over the first `sequences` validation sequences of a source, with the shapes of `batch`'s
  /// stage.
  double evaluate(std::int64_t batch, int source, std::int64_t sequences);

  const ShardedOptimizer& optimizer() const { return optimizer_; }
  const ParameterStore& parameters() const { return parameters_; }
  const Schedule& schedule(std::int64_t batch) { return runtime(batch).schedule(); }

  std::map<std::string, double> weight_norms() const { return optimizer_.weight_norms(ranks_.world()); }

  /// The planned bytes of the rank at `at`, for the stage that needs the most. Needs neither data nor other ranks.
  static std::unique_ptr<Arena> plan(const Experiment& experiment, Kernels& kernels, const MeshCoordinate& at = {});

 private:
  Engine(const Experiment& experiment, const Loader* loader, Kernels& kernels, RankGroups& ranks);
  StageRuntime& runtime(std::int64_t batch);
  void check_float_environment(const std::string& what) const;
  /// A micro-batch to where it is staged, and its leaves to the others.
  void read(std::int64_t batch, std::int64_t first_sequence);

  const Experiment& experiment_;
  const Loader* loader_;  // null in a rehearsal
  Kernels& kernels_;
  RankGroups& ranks_;
  ReplicaRange replicas_;
  Arena state_arena_;
  GrainTree grains_;
  ModelParameters declared_;
  ParameterStore parameters_;
  ShardedOptimizer optimizer_;
  std::unique_ptr<Arena> stage_arena_;
  std::unique_ptr<StageRuntime> runtime_;
  const TrainingStage* bound_stage_ = nullptr;
  std::vector<double> sequence_losses_;
  SequenceLeaves sequence_leaves_;
  std::vector<Digest> read_leaves_;  // of a micro-batch
};

}  // namespace baekji
