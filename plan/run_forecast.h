#pragma once
// What months of training come to: days with failures counted, the best interval between checkpoints, energy.

#include <cstdint>

#include "plan/cluster.h"

namespace baekji {

struct RunQuestion {
  std::int64_t steps = 0;
  double training_s = 0;  ///< of all steps, nothing else counted
  std::int64_t devices = 1;
  double state_bytes = 0;             ///< of a checkpoint: master weights and both moments
  double stall_s = 0;                 ///< that a save stops training for
  std::int64_t checkpoint_every = 0;  ///< steps, as the experiment says; 0: only at the end
  const Cluster& cluster;
};

struct RunForecast {
  double training_days = 0;
  double write_s = 0;                 ///< of a checkpoint, beside training
  double best_interval_s = 0;         ///< between checkpoints, by Daly's estimate
  std::int64_t best_every = 0;        ///< the same in steps
  double interval_s = 0;              ///< what is reckoned with: the experiment's, or the best
  double mean_time_to_failure_s = 0;  ///< of the job; infinite without failures
  double goodput = 1;                 ///< training over all time
  double days = 0;                    ///< with failures, restarts, lost work, saves and the start
  double device_hours = 0;
  double energy_mwh = 0;
};

/// Daly 2006, "A higher order estimate of the optimum checkpoint interval for restart dumps" (equation 37), with the
/// stall of a save as its cost, and no shorter than a write takes. Lost work is half an interval for each failure
/// (Young 1974). Throws when failures come faster than the job can restart.
RunForecast forecast_run(const RunQuestion& question);

}  // namespace baekji
