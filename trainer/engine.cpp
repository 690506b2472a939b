#include "trainer/engine.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <set>
#include <tuple>

#include "core/float_environment.h"
#include "trainer/layout.h"

namespace baekji {
namespace {

MicroBatch micro_batch_of(const Batch& b) {
  return {.token_BT = b.token_BT, .target_BT = b.target_BT, .position_BT = b.position_BT, .first_BT = b.first_BT};
}

// A loss of another rank comes by a maximum with what is less than any loss.
constexpr double kElsewhere = -std::numeric_limits<double>::infinity();

Tensor tensor_of(std::vector<double>& values) {
  return {values.data(), DType::kFloat64, {static_cast<std::int64_t>(values.size())}};
}

// Weights that come to one place in turn (zero = 3) share their packed copies. A table that only embeds has none, nor
// have weights that are multiplied in 8 bits.
std::int64_t packed_bytes(const ParameterStore& parameters, const Kernels& kernels,
                          const std::function<bool(GroupId)>& multiplied) {
  std::set<std::tuple<const void*, std::int64_t, std::int64_t>> counted;
  std::int64_t total = 0;
  for (GroupId id = 0; id < parameters.group_count(); ++id) {
    if (!multiplied(id)) continue;
    for (std::int64_t s = 0; s < parameters.slice_count(id); ++s) {
      const Tensor& weight = parameters.weight(id, s);
      const bool first = counted.insert({weight.data(), weight.dim(0), weight.dim(1)}).second;
      if (first || !parameters.gathers_weights()) total += kernels.packed_weight_bytes(weight);
    }
  }
  return total;
}

WorkShape work_shape(const Experiment& e, const TrainingStage& stage, const ParameterStore& parameters) {
  WorkShape shape{.sequences = stage.micro_batch,
                  .context = stage.context,
                  .hidden = e.model.hidden,
                  .heads = e.model.heads / e.numerics.tensor_grains,
                  .kv_heads = e.model.kv_heads / e.numerics.tensor_grains,
                  .head_width = e.model.head_width(),
                  .document_mask = e.model.document_mask};
  for (const ParameterSlice& part : parameters.owned()) shape.state_chunks += ceil_div(part.count, kChunkElements);
  return shape;
}

}  // namespace

StageRuntime::StageRuntime(const Args& args, Arena& arena)
    : schedule_(schedule_of(args.experiment, args.stage)),
      common_({.context = {.kernels = args.kernels,
                           .parameters = args.parameters,
                           .grains = args.grains,
                           .model = args.experiment.model,
                           .types = element_types(args.experiment.numerics),
                           .shape = {.sequences = args.stage.micro_batch, .context = args.stage.context}},
               .rope_theta = args.stage.rope_theta,
               .loss_chunk = args.experiment.numerics.loss_chunk,
               .whole_backward = schedule_.runs(args.pipeline_rank, ActionKind::kBackward)},
              arena),
      kernels_(args.kernels) {
  const std::vector<StageRange> ranges = stage_ranges_of(args.experiment, args.pipeline_rank);
  const BatchShape& shape = common_.context.shape;
  for (std::int64_t v = 0; v < schedule_.virtual_stages; ++v) {
    PipelineStage stage{.slots = schedule_.peak_live(args.pipeline_rank, v),
                        .pending = schedule_.peak_pending(args.pipeline_rank, v)};
    std::vector<Batch>& batches = batches_.emplace_back();
    for (std::int64_t s = 0; s < stage.slots; ++s) {
      const auto ids = [&] { return arena.allocate("batches", DType::kInt32, {shape.sequences, shape.context}); };
      batches.push_back({.token_BT = ids(), .target_BT = ids(), .position_BT = ids(), .first_BT = ids()});
    }
    stages_.push_back(
        std::make_unique<TransformerStage>(TransformerStage::Args{.declared = args.declared,
                                                                  .range = ranges[static_cast<std::size_t>(v)],
                                                                  .recompute = recompute_of(args.experiment.layout),
                                                                  .slots = stage.slots,
                                                                  .pending = stage.pending},
                                           common_, arena));
    stage.stage = stages_.back().get();
    pipeline_stages_.push_back(stage);
  }
  losses_ = arena.allocate("logits and loss", DType::kFloat64, {args.stage.global_batch});
  stage_on_host(shape);
  const std::size_t gradients = schedule_.ranks() > 1 ? kGradientBuffers : 1;
  for (std::size_t i = 0; i < gradients; ++i) {
    gradients_NC_.push_back(arena.allocate("workspace", common_.context.types.residual,
                                           {common_.context.local_tokens(), common_.context.model.hidden}));
  }
}

Engine::Engine(const Experiment& experiment, const Loader* loader, Kernels& kernels, RankGroups& ranks)
    : experiment_(experiment),
      loader_(loader),
      kernels_(kernels),
      ranks_(ranks),
      replicas_(replicas_of(experiment.numerics.replicas, ranks.mesh(), ranks.coordinate())),
      state_arena_(loader == nullptr ? Arena::Mode::kMeasure : Arena::Mode::kAllocate, kernels.device()),
      grains_(kernels, ranks.tensor(), grain_map(experiment, ranks.coordinate())),
      declared_(declare_parameters(experiment.model, experiment.numerics.tensor_grains)),
      parameters_(store_args(experiment, declared_, ranks.coordinate(), &ranks), kernels, state_arena_),
      optimizer_(experiment.optimizer, parameters_, kernels, state_arena_) {}

void StageRuntime::stage_on_host(const BatchShape& shape) {
  staged_ids_.resize(static_cast<std::size_t>(4 * shape.tokens()));
  std::int32_t* next = staged_ids_.data();
  for (Tensor* ids : {&staged_.token_BT, &staged_.target_BT, &staged_.position_BT, &staged_.first_BT}) {
    *ids = Tensor(next, DType::kInt32, {shape.sequences, shape.context});
    next += shape.tokens();
  }
}

void StageRuntime::deliver(const Batch& to) const {
  kernels_.upload({.from = staged_.token_BT.data(), .to = to.token_BT});
  kernels_.upload({.from = staged_.target_BT.data(), .to = to.target_BT});
  kernels_.upload({.from = staged_.position_BT.data(), .to = to.position_BT});
  kernels_.upload({.from = staged_.first_BT.data(), .to = to.first_BT});
}

std::vector<StateShard> Engine::owned_shards() const {
  std::vector<StateShard> owned;
  for (std::size_t i = 0; i < shards().size(); ++i) {
    if (answers_for(experiment_, ranks_.coordinate(), parameters_.owned()[i])) owned.push_back(shards()[i]);
  }
  return owned;
}

StageRuntime& Engine::runtime(std::int64_t batch) {
  const TrainingStage& stage = experiment_.stage(batch);
  const bool fits =
      bound_stage_ != nullptr && bound_stage_->same_shape(stage) && bound_stage_->global_batch == stage.global_batch;
  if (!fits) {
    // A new shape: the old activations go before the new ones come, so that the peak is the largest stage's.
    runtime_.reset();
    stage_arena_ = std::make_unique<Arena>(state_arena_.mode(), kernels_.device());
    runtime_ = std::make_unique<StageRuntime>(
        StageRuntime::Args{experiment_, stage, declared_, kernels_, parameters_, grains_, ranks_.coordinate().pipeline},
        *stage_arena_);
    sequence_losses_.assign(static_cast<std::size_t>(stage.global_batch), 0.0);
  }
  bound_stage_ = &stage;
  return *runtime_;
}

void Engine::read(std::int64_t batch, std::int64_t first_sequence) {
  if (loader_ == nullptr) return;
  const std::int64_t count = experiment_.stage(batch).micro_batch;
  read_leaves_.resize(static_cast<std::size_t>(count));
  loader_->read(batch, first_sequence, count, runtime(batch).staged(), read_leaves_);
  for (std::int64_t i = 0; i < count; ++i)
    sequence_leaves_.note(first_sequence + i, read_leaves_[static_cast<std::size_t>(i)], ranks_);
}

// The pool's threads are looked at by the pool, after every operation.
void Engine::check_float_environment(const std::string& what) const {
  require_float_environment(fmt::format("{}, {}", ranks_.mesh().rank_name(ranks_.world().rank()), what));
}

StepResult Engine::step(std::int64_t step, std::int64_t update, std::int64_t batch) {
  set_float_environment();
  StageRuntime& runtime = this->runtime(batch);
  const TrainingStage& stage = experiment_.stage(batch);
  const std::int64_t per_replica = micro_batches_per_replica(experiment_, stage);
  const std::int64_t first = replicas_.first * per_replica;  // of this rank's micro-batches in the global batch
  StepResult result{.learning_rate = learning_rate(experiment_.optimizer, step),
                    .tokens = stage.global_batch * stage.context};

  parameters_.begin_step(result.tokens);
  sequence_leaves_.begin(stage.global_batch);
  std::fill(sequence_losses_.begin(), sequence_losses_.end(), kElsewhere);
  kernels_.upload({.from = sequence_losses_.data(), .to = runtime.losses()});
  const auto rank = static_cast<std::size_t>(ranks_.coordinate().pipeline);
  // By virtual stage: forward passes come in index order, so one number says what its slots hold.
  std::vector<std::int64_t> loaded(runtime.stages().size(), -1);
  run_pipeline(
      {.actions = runtime.schedule().actions[rank],
       .stages = runtime.stages(),
       .parameters = &parameters_,
       .links = ranks_.links(),
       .load =
           [&](std::int64_t v, std::int64_t m) {
             const Batch& sequences = runtime.batch(v, m);
             if (m > loaded[static_cast<std::size_t>(v)]) {
               read(batch, (first + m) * stage.micro_batch);
               runtime.deliver(sequences);
               loaded[static_cast<std::size_t>(v)] = m;
             }
             return micro_batch_of(sequences);
           },
       .gradients_NC = runtime.gradients_NC(),
       .micro_batches_per_replica = per_replica,
       .micro_batches = replicas_.count * per_replica,
       .losses = runtime.losses().rows(first * stage.micro_batch, replicas_.count * per_replica * stage.micro_batch)});
  parameters_.reduce();
  kernels_.download({.from = runtime.losses(), .to = sequence_losses_.data()});  // the host waits here, once
  ranks_.world().all_reduce(tensor_of(sequence_losses_), ReduceOp::kMax);
  for (const double loss : sequence_losses_) result.loss += loss;  // in index order
  result.loss /= static_cast<double>(result.tokens);
  sequence_leaves_.exchange(ranks_.world());
  if (loader_ != nullptr) result.batch_root = sequence_leaves_.root(ranks_, batch);
  result.outcome = optimizer_.step(
      {.learning_rate = result.learning_rate, .update = update, .global_tokens = result.tokens}, ranks_.world());
  check_float_environment(fmt::format("step {}", step));
  return result;
}

double Engine::evaluate(std::int64_t batch, int source, std::int64_t sequences) {
  set_float_environment();
  StageRuntime& runtime = this->runtime(batch);
  const TrainingStage& stage = experiment_.stage(batch);
  const std::int64_t available = loader_->validation_sequences(source, stage.context);
  const std::int64_t wanted = std::min(sequences, available);
  if (wanted < 1) return 0;
  std::vector<double> losses(static_cast<std::size_t>(wanted), kElsewhere);
  std::vector<double> batch_losses(static_cast<std::size_t>(stage.micro_batch), kElsewhere);
  const Tensor losses_B = runtime.losses().rows(0, stage.micro_batch);
  for (std::int64_t first = 0; first < wanted; first += stage.micro_batch) {
    // The last micro-batch reaches back to be full; what was counted before is not counted again.
    const std::int64_t begin = std::max<std::int64_t>(std::min(first, available - stage.micro_batch), 0);
    const std::int64_t rows = std::min(stage.micro_batch, available);
    const Batch& rows_BT = runtime.staged();
    for (std::int64_t row = 0; row < stage.micro_batch; row += rows) {  // fewer sequences than rows: they repeat
      const std::int64_t count = std::min(rows, stage.micro_batch - row);
      loader_->read_validation(source, begin, count,
                               {.token_BT = rows_BT.token_BT.rows(row, count),
                                .target_BT = rows_BT.target_BT.rows(row, count),
                                .position_BT = rows_BT.position_BT.rows(row, count),
                                .first_BT = rows_BT.first_BT.rows(row, count)});
    }
    runtime.deliver(runtime.batch(0, 0));
    std::fill(batch_losses.begin(), batch_losses.end(), kElsewhere);
    kernels_.upload({.from = batch_losses.data(), .to = losses_B});
    evaluate_pipeline({.stages = runtime.stages(),
                       .links = ranks_.links(),
                       .batch = micro_batch_of(runtime.batch(0, 0)),
                       .losses = losses_B},
                      ranks_.coordinate().pipeline, ranks_.mesh().pipeline);
    kernels_.download({.from = losses_B, .to = batch_losses.data()});
    const std::int64_t last = std::min(first + stage.micro_batch, wanted);
    for (std::int64_t i = first; i < last; ++i)
      losses[static_cast<std::size_t>(i)] = batch_losses[static_cast<std::size_t>(i - begin)];
  }
  ranks_.pipeline().all_reduce(tensor_of(losses), ReduceOp::kMax);
  double sum = 0;
  for (const double loss : losses) sum += loss;
  check_float_environment("evaluation");
  return sum / static_cast<double>(wanted * stage.context);
}

std::unique_ptr<Arena> Engine::plan(const Experiment& experiment, Kernels& kernels, const MeshCoordinate& at) {
  std::unique_ptr<Arena> largest;
  const auto nobody = make_self_communicator();  // binding memory exchanges nothing
  for (const TrainingStage& stage : experiment.stages) {
    auto arena = std::make_unique<Arena>(Arena::Mode::kMeasure);
    GrainTree grains(kernels, *nobody, grain_map(experiment, at));
    const ModelParameters declared = declare_parameters(experiment.model, experiment.numerics.tensor_grains);
    ParameterStore parameters(store_args(experiment, declared, at, nullptr), kernels, *arena);
    const ShardedOptimizer optimizer(experiment.optimizer, parameters, kernels, *arena);
    const StageRuntime runtime({experiment, stage, declared, kernels, parameters, grains, at.pipeline}, *arena);
    const std::vector<StageRange> ranges = stage_ranges_of(experiment, at.pipeline);
    const bool float8 = element_types(experiment.numerics).float8_linear;
    const auto multiplied = [&](GroupId id) {
      if (id == declared.head) return ranges.back().head;
      return id != declared.embedding && !float8;
    };
    arena->note("packed weights", packed_bytes(parameters, kernels, multiplied));
    arena->note("kernel scratch", kernels.scratch_bytes(work_shape(experiment, stage, parameters)));
    if (!largest || arena->total_bytes() > largest->total_bytes()) largest = std::move(arena);
  }
  return largest;
}

}  // namespace baekji
