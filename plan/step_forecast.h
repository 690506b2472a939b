#pragma once
// How long a training step takes, and where its time goes: blocks priced by plan/block_cost.h, the pipeline's schedule
// played with these prices event by event, then what comes once a step.

#include <string>
#include <vector>

#include "parallel/schedule_checks.h"
#include "plan/block_cost.h"

namespace baekji {

struct NamedSeconds {
  std::string name;
  double seconds = 0;
};

struct StepForecast {
  double step_s = 0;
  double tokens_per_s_per_device = 0;
  double mfu = 0;  ///< over the device's measured ceiling (design, section 3)
  /// Sums to step_s: of the pipeline rank that works longest.
  std::vector<NamedSeconds> parts;
};

struct StepQuestion {
  const Workload& workload;
  const Cluster& cluster;
  const ImplementationProfile& profile;
};

/// Throws when the workload cannot be laid out so (the schedule's shape, the device's precision).
StepForecast forecast_step(const StepQuestion& question);

/// The same step's schedule and its passes in time, in seconds: what the pictures draw.
struct StepTimeline {
  Schedule schedule;
  Simulation simulation;
};
StepTimeline step_timeline(const StepQuestion& question);

/// Layers of each stage: as the layout says, or even; where the ends of the model make it even, they count as a layer
/// each.
std::vector<std::int64_t> stage_layers(const Workload& workload);

}  // namespace baekji
