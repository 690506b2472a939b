#include "trainer/layout.h"

#include <array>

#include "core/file_system.h"
#include "core/untrusted_file.h"
#include "parallel/schedule_generators.h"
#include "parallel/schedule_text.h"

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
    mine.push_back(all[static_cast<std::size_t>(stage_index(e.layout.pipeline, pipeline_rank, v))]);
  return mine;
}

namespace {

void require_shape(const Schedule& schedule, const ScheduleShape& shape, const std::string& place) {
  require_equal(shape.ranks, schedule.ranks(), "the schedule is for another pipeline degree", place);
  require_equal(shape.virtual_stages, schedule.virtual_stages, "the schedule is for other virtual_stages", place);
  require_equal(shape.micro_batches, schedule.micro_batches, "the schedule is for another number of micro-batches",
                place + " (of the data rank with the most replicas)");
}

}  // namespace

std::string describe(const LayoutConfig& layout) {
  return fmt::format("{}, {}, zero {}, recompute {}", layout.mesh().describe(),
                     layout.schedule_file.empty() ? layout.schedule : layout.schedule_file, layout.zero,
                     layout.recompute);
}

Schedule schedule_of(const Experiment& e, const TrainingStage& stage) {
  const LayoutConfig& l = e.layout;
  const ScheduleShape shape{
      .ranks = l.pipeline,
      .virtual_stages = l.virtual_stages,
      .micro_batches = most_replicas(e.numerics.replicas, l.mesh()) * micro_batches_per_replica(e, stage)};
  Schedule schedule;
  if (l.schedule_file.empty()) {
    schedule = make_schedule(l.schedule, shape);
  } else {
    schedule = parse_schedule(read_untrusted(l.schedule_file, kMostScheduleBytes), l.schedule_file);
    require_shape(schedule, shape, l.schedule_file);
  }
  validate(schedule);
  for (std::int64_t rank = 0; rank < schedule.ranks(); ++rank) {
    if (l.recompute == "none" || !schedule.runs(rank, ActionKind::kBackwardWeight)) continue;
    throw Error("weight gradients that come later need what recomputation drops")
        .values("recompute = \"none\", or a schedule without W", fmt::format("recompute = \"{}\"", l.recompute))
        .at(e.place + " [layout]");
  }
  return schedule;
}

bool answers_for(const Experiment& e, const MeshCoordinate& at, const ParameterSlice& part) {
  const bool first_tensor = part.spec->logical.split != Split::kNone || at.tensor == 0;
  const bool first_data = e.layout.zero > 0 || at.data == 0;
  const bool first_pipeline = !part.tied || at.pipeline == 0;
  return first_tensor && first_data && first_pipeline;
}

PassCosts pass_costs(const Experiment& e, const TrainingStage& stage) {
  const std::vector<StageRange> ranges = stage_ranges(e);
  PassCosts costs;
  for (const StageRange& range : ranges) {
    // A third each: forward, input gradients, weight gradients. The head runs in backward passes alone.
    const auto tokens = static_cast<double>(stage.micro_batch * stage.context);
    StageRange blocks = range;
    blocks.head = false;
    const double all = stage_flops_per_token(e.model, range, stage.context) * tokens * 1e-12;
    const double forward = stage_flops_per_token(e.model, blocks, stage.context) * tokens * 1e-12 / 3;
    costs.forward.push_back(forward);
    costs.backward_weight.push_back(forward);
    costs.backward_input.push_back(all - 2 * forward + (e.layout.recompute == "full" ? forward : 0));
  }
  return costs;
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

const char* word_of(Recompute recompute) {
  constexpr std::array<const char*, 3> kWords{"none", "selective", "full"};
  return kWords[static_cast<std::size_t>(recompute)];
}

}  // namespace baekji
