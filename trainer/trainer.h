#pragma once
// Trainer: wires data, engine, ledger, checkpoints and logs into a run.

#include <string>

#include "trainer/experiment.h"

namespace baekji {

struct TrainOptions {
  bool accept_kernel_set = false;  ///< go on with a run that another kernel set began
};

/// Trains the experiment from where its run folder stands (step 0 if it is new) to run.steps. SIGINT and SIGTERM finish
/// the running step, save, and return. Throws Error; the last good checkpoint then stands.
void train(const Experiment& experiment, const TrainOptions& options);

/// What `train --dry-run` prints: mesh, schedule, contract-free facts and the planned memory. Needs no data.
std::string dry_run(const Experiment& experiment);

}  // namespace baekji
