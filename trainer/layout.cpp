#include "trainer/layout.h"

#include "parallel/schedule_checks.h"
#include "parallel/schedule_generators.h"

namespace baekji {

std::int64_t micro_batches_per_replica(const Experiment& e, const TrainingStage& stage) {
  return stage.global_batch / stage.micro_batch / e.numerics.replicas;
}

std::vector<StageRange> stage_ranges(const Experiment& e) {
  return partition_layers(e.model, e.layout.pipeline * e.layout.virtual_stages, e.layout.layers_per_stage,
                          e.place + " [layout]");
}

std::vector<StageRange> stage_ranges_of(const Experiment& e, std::int64_t pipeline_rank) {
  const std::vector<StageRange> all = stage_ranges(e);
  std::vector<StageRange> mine;
  for (std::int64_t v = 0; v < e.layout.virtual_stages; ++v)
    mine.push_back(all[static_cast<std::size_t>(v * e.layout.pipeline + pipeline_rank)]);  // Schedule::stage
  return mine;
}

Schedule schedule_of(const Experiment& e, const TrainingStage& stage) {
  Schedule schedule = make_schedule(
      e.layout.schedule,
      {.ranks = e.layout.pipeline,
       .virtual_stages = e.layout.virtual_stages,
       .micro_batches = most_replicas(e.numerics.replicas, e.layout.mesh()) * micro_batches_per_replica(e, stage)});
  validate(schedule);
  return schedule;
}

GrainMap grain_map(const Experiment& e, const MeshCoordinate& at) {
  return GrainMap(e.numerics.tensor_grains, e.layout.tensor, at.tensor);
}

ParameterStore::Args store_args(const Experiment& e, const ModelParameters& declared, const MeshCoordinate& at,
                                const RankGroups* ranks) {
  const GrainMap map = grain_map(e, at);
  ParameterStore::Args args{.groups = declared.groups,
                            .types = element_types(e.numerics),
                            .replicas = e.numerics.replicas,
                            .first_slice = map.first(),
                            .slice_count = map.count(),
                            .held = held_groups(declared, stage_ranges_of(e, at.pipeline)),
                            .zero = e.layout.zero,
                            .tensor_ranks = e.layout.tensor,
                            .data_ranks = e.layout.data,
                            .data_rank = at.data};
  if (ranks == nullptr) return args;
  args.data = &ranks->data();
  args.tensor = &ranks->tensor();
  args.tied = &ranks->tied();
  return args;
}

Recompute recompute_of(const LayoutConfig& layout) {
  if (layout.recompute == "full") return Recompute::kFull;
  return layout.recompute == "selective" ? Recompute::kSelective : Recompute::kNone;
}

}  // namespace baekji
