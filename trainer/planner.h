#pragma once
// From an experiment to what plan/ reckons with, and back: the trainer's own layouts, schedules and planned memory.

#include <filesystem>
#include <string>
#include <vector>

#include "plan/run_forecast.h"
#include "plan/search.h"
#include "trainer/experiment.h"

namespace baekji {

/// What a training stage of the experiment asks of the devices.
Workload workload_of(const Experiment& experiment, const TrainingStage& stage);
/// The layers of each stage, as the trainer deals them out, once for each number of stages. The experiment outlives it.
LayersOf trainer_layers(const Experiment& experiment);
/// The experiment under a candidate's layout (and numerics, where these are another contract's).
Experiment with_candidate(const Experiment& experiment, const Candidate& candidate);

/// Bytes on the device of one rank of each pipeline stage: the tables that the trainer prints before step 1, in
/// numbers.
struct RankPlan {
  std::int64_t pipeline_rank = 0;
  std::vector<std::pair<std::string, std::int64_t>> parts;
  std::int64_t total_bytes = 0;
};
std::vector<RankPlan> rank_plans(const Experiment& experiment, const ImplementationProfile& profile);
/// Of the rank that holds the most, or of one that holds more than `room_bytes`: both ends of the pipeline, which often
/// do, come first.
double bytes_unless_more(const Experiment& experiment, const ImplementationProfile& profile, double room_bytes);

/// Steps of the run that a training stage has; 0 when it begins after the end.
std::int64_t steps_of(const Experiment& experiment, std::size_t stage);

/// The run of all training stages under the experiment's layout.
RunForecast forecast_run_of(const Experiment& experiment, const Cluster& cluster, const ImplementationProfile& profile);

/// What of a device's memory our own plan may take: CUDA's context and the libraries' own buffers stay out.
double room_bytes(const Cluster& cluster);

}  // namespace baekji
