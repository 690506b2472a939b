#include "trainer/engine.h"

#include <algorithm>
#include <limits>

#include "parallel/schedule_checks.h"
#include "parallel/schedule_generators.h"

namespace baekji {
namespace {

GrainMap grain_map(const Experiment& e, const MeshCoordinate& at) {
  return GrainMap(e.numerics.tensor_grains, e.layout.tensor, at.tensor);
}

ParameterStore::Args store_args(const Experiment& e, const ModelParameters& declared, const GrainMap& map) {
  return {.groups = declared.groups,
          .types = element_types(e.numerics),
          .replicas = e.numerics.replicas,
          .tensor_ranks = map.degree(),
          .first_slice = map.first(),
          .slice_count = map.count()};
}

std::int64_t micro_batches_per_replica(const Experiment& e, const TrainingStage& stage) {
  return stage.global_batch / stage.micro_batch / e.numerics.replicas;
}

MicroBatch micro_batch_of(const Batch& b) {
  return {.token_BT = b.token_BT, .target_BT = b.target_BT, .position_BT = b.position_BT, .first_BT = b.first_BT};
}

}  // namespace

StageRuntime::StageRuntime(const Args& args, Arena& arena)
    : schedule_(
          one_forward_one_backward(1, args.replicas.count * micro_batches_per_replica(args.experiment, args.stage))) {
  validate(schedule_);
  const Experiment& e = args.experiment;
  const std::int64_t slots = schedule_.peak_live(0, 0);
  const BatchShape shape{.sequences = args.stage.micro_batch, .context = args.stage.context};
  for (std::int64_t s = 0; s < slots; ++s) {
    const auto ids = [&] { return arena.allocate("batches", DType::kInt32, {shape.sequences, shape.context}); };
    batches_.push_back({.token_BT = ids(), .target_BT = ids(), .position_BT = ids(), .first_BT = ids()});
  }
  stage_ = std::make_unique<TransformerStage>(
      TransformerStage::Args{.kernels = args.kernels,
                             .parameters = args.parameters,
                             .grains = args.grains,
                             .model = e.model,
                             .declared = args.declared,
                             .types = element_types(e.numerics),
                             .shape = shape,
                             .loss_chunk = e.numerics.loss_chunk,
                             .rope_theta = args.stage.rope_theta,
                             .recompute = e.layout.recompute == "full" ? Recompute::kFull : Recompute::kNone,
                             .slots = slots},
      arena);
}

Engine::Engine(const Experiment& experiment, const Loader& loader, Kernels& kernels, RankGroups& ranks)
    : experiment_(experiment),
      loader_(loader),
      kernels_(kernels),
      ranks_(ranks),
      replicas_(replicas_of(experiment.numerics.replicas, ranks.mesh(), ranks.coordinate())),
      grains_(kernels, ranks.tensor(), grain_map(experiment, ranks.coordinate())),
      declared_(declare_parameters(experiment.model, experiment.numerics.tensor_grains)),
      parameters_(store_args(experiment, declared_, grains_.map()), kernels, state_arena_),
      optimizer_(experiment.optimizer, parameters_, kernels, state_arena_) {}

std::vector<StateShard> Engine::owned_shards() const {
  // Data ranks hold the same state, and tensor ranks the same gains: the first of each answers.
  std::vector<StateShard> owned;
  for (const StateShard& shard : shards()) {
    const bool shared = shard.tensor->split == Split::kNone;
    if (ranks_.coordinate().data == 0 && (!shared || ranks_.coordinate().tensor == 0)) owned.push_back(shard);
  }
  return owned;
}

StageRuntime& Engine::runtime(std::int64_t step) {
  const TrainingStage& stage = experiment_.stage(step);
  const bool fits =
      bound_stage_ != nullptr && bound_stage_->same_shape(stage) && bound_stage_->global_batch == stage.global_batch;
  if (!fits) {
    // A new shape: the old activations go before the new ones come, so that the peak is the largest stage's.
    runtime_.reset();
    stage_arena_ = std::make_unique<Arena>(state_arena_.mode());
    runtime_ = std::make_unique<StageRuntime>(
        StageRuntime::Args{experiment_, stage, declared_, kernels_, parameters_, grains_, replicas_}, *stage_arena_);
    sequence_losses_.assign(static_cast<std::size_t>(stage.global_batch), 0.0);
  }
  bound_stage_ = &stage;
  return *runtime_;
}

StepResult Engine::step(std::int64_t step, std::int64_t update) {
  StageRuntime& runtime = this->runtime(step);
  const TrainingStage& stage = experiment_.stage(step);
  const std::int64_t per_replica = micro_batches_per_replica(experiment_, stage);
  const std::int64_t first = replicas_.first * per_replica;  // of this rank's micro-batches in the global batch
  StepResult result{.learning_rate = learning_rate(experiment_.optimizer, step),
                    .tokens = stage.global_batch * stage.context};

  parameters_.begin_step(result.tokens, experiment_.numerics.replicas);
  // The losses of other data ranks come by a maximum with what is less than any loss.
  std::fill(sequence_losses_.begin(), sequence_losses_.end(), -std::numeric_limits<double>::infinity());
  std::int64_t loaded = -1;  // forward passes come in index order, so one number says what the slots hold
  run_pipeline({.actions = runtime.schedule().actions[0],
                .stage = &runtime.stage(),
                .parameters = &parameters_,
                .load =
                    [&](std::int64_t m) {
                      const Batch& batch = runtime.batch(m % runtime.slots());
                      if (m > loaded) {
                        loader_.read(step, (first + m) * stage.micro_batch, stage.micro_batch, batch);
                        loaded = m;
                      }
                      return micro_batch_of(batch);
                    },
                .micro_batches_per_replica = per_replica,
                .slots = runtime.slots(),
                .losses = std::span(sequence_losses_).subspan(static_cast<std::size_t>(first * stage.micro_batch))});
  parameters_.reduce(ranks_.data(), ranks_.tensor());
  ranks_.data().all_reduce(Tensor(sequence_losses_.data(), DType::kFloat64, {stage.global_batch}), ReduceOp::kMax);
  for (const double loss : sequence_losses_) result.loss += loss;  // in index order
  result.loss /= static_cast<double>(result.tokens);
  result.outcome = optimizer_.step(
      {.learning_rate = result.learning_rate, .update = update, .global_tokens = result.tokens}, ranks_.world());
  return result;
}

double Engine::evaluate(std::int64_t step, int source, std::int64_t sequences) {
  StageRuntime& runtime = this->runtime(step);
  const TrainingStage& stage = experiment_.stage(step);
  const std::int64_t available = loader_.validation_sequences(source, stage.context);
  const std::int64_t wanted = std::min(sequences, available);
  if (wanted < 1) return 0;
  std::vector<double> losses(static_cast<std::size_t>(stage.micro_batch));
  double sum = 0;
  for (std::int64_t first = 0; first < wanted; first += stage.micro_batch) {
    // The last micro-batch reaches back to be full; what was counted before is not counted again.
    const std::int64_t begin = std::max<std::int64_t>(std::min(first, available - stage.micro_batch), 0);
    const std::int64_t rows = std::min(stage.micro_batch, available);
    const Batch& batch = runtime.batch(0);
    for (std::int64_t row = 0; row < stage.micro_batch; row += rows) {  // fewer sequences than rows: they repeat
      const std::int64_t count = std::min(rows, stage.micro_batch - row);
      loader_.read_validation(source, begin, count,
                              {.token_BT = batch.token_BT.rows(row, count),
                               .target_BT = batch.target_BT.rows(row, count),
                               .position_BT = batch.position_BT.rows(row, count),
                               .first_BT = batch.first_BT.rows(row, count)});
    }
    runtime.stage().evaluate(micro_batch_of(batch), losses);
    const std::int64_t last = std::min(first + stage.micro_batch, wanted);
    for (std::int64_t i = first; i < last; ++i) sum += losses[static_cast<std::size_t>(i - begin)];
  }
  return sum / static_cast<double>(wanted * stage.context);
}

std::unique_ptr<Arena> Engine::plan(const Experiment& experiment, Kernels& kernels, const MeshCoordinate& at) {
  std::unique_ptr<Arena> largest;
  const auto nobody = make_self_communicator();  // binding memory exchanges nothing
  for (const TrainingStage& stage : experiment.stages) {
    auto arena = std::make_unique<Arena>(Arena::Mode::kMeasure);
    GrainTree grains(kernels, *nobody, grain_map(experiment, at));
    const ModelParameters declared = declare_parameters(experiment.model, experiment.numerics.tensor_grains);
    ParameterStore parameters(store_args(experiment, declared, grains.map()), kernels, *arena);
    const ShardedOptimizer optimizer(experiment.optimizer, parameters, kernels, *arena);
    const ReplicaRange replicas = replicas_of(experiment.numerics.replicas, experiment.layout.mesh(), at);
    const StageRuntime runtime({experiment, stage, declared, kernels, parameters, grains, replicas}, *arena);
    for (GroupId id = 0; id < parameters.group_count(); ++id) {
      const std::int64_t slices = parameters.slice_count(id);
      for (std::int64_t s = 0; s < slices; ++s)
        arena->note("packed weights", kernels.packed_weight_bytes(parameters.weight(id, s)));
    }
    arena->note("kernel scratch", kernels.scratch_bytes(stage.context, experiment.model.head_width()));
    if (!largest || arena->total_bytes() > largest->total_bytes()) largest = std::move(arena);
  }
  return largest;
}

}  // namespace baekji
