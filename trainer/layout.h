#pragma once
// What [layout] makes of an experiment: which layers, parameters and passes each rank has. Pure functions.

#include <cstdint>
#include <vector>

#include "model/parameters.h"
#include "model/stage_partition.h"
#include "model/transformer_stage.h"
#include "parallel/grains.h"
#include "parallel/parameter_store.h"
#include "parallel/rank_groups.h"
#include "parallel/schedule.h"
#include "parallel/schedule_checks.h"
#include "trainer/experiment.h"

namespace baekji {

/// "1x2x2 (pipeline x data x tensor), 1f1b, zero 1, recompute none": for people and for events.
std::string describe(const LayoutConfig& layout);

std::int64_t micro_batches_per_replica(const Experiment& e, const TrainingStage& stage);

/// The layers of each stage of the pipeline. Throws when they do not fit.
std::vector<StageRange> stage_ranges(const Experiment& e);
/// Those of the stages of one pipeline rank, by virtual stage.
std::vector<StageRange> stage_ranges_of(const Experiment& e, std::int64_t pipeline_rank);

/// One step of a pipeline, for a data rank that has the most replicas: the named schedule, or the one of
/// layout.schedule_file; validated. Throws when the micro-batches cannot be scheduled so, or weight gradients that come
/// later would need what recomputation drops.
Schedule schedule_of(const Experiment& e, const TrainingStage& stage);

GrainMap grain_map(const Experiment& e, const MeshCoordinate& at);

/// What the rank at `at` holds. `ranks` is null to measure memory.
ParameterStore::Args store_args(const Experiment& e, const ModelParameters& declared, const MeshCoordinate& at,
                                const RankGroups* ranks);

/// Whether the rank at `at` is the one that answers for a part of the state that it updates: tensor ranks hold the same
/// gains, both ends of a pipeline a tied table, and data ranks everything unless they divide it; the first of each
/// answers.
bool answers_for(const Experiment& e, const MeshCoordinate& at, const ParameterSlice& part);

/// What the passes of the stages cost, in units of 10^12 operations of one micro-batch, recomputation included.
PassCosts pass_costs(const Experiment& e, const TrainingStage& stage);

Recompute recompute_of(const LayoutConfig& layout);
/// layout.recompute's word for it.
const char* word_of(Recompute recompute);

}  // namespace baekji
