#pragma once
// Runs one rank's list of actions over its stage: the only loop over micro-batches there is.

#include <functional>
#include <span>
#include <vector>

#include "parallel/parameter_store.h"
#include "parallel/schedule.h"
#include "parallel/stage.h"

namespace baekji {

struct PipelineArgs {
  std::span<const Action> actions;
  Stage* stage = nullptr;
  ParameterStore* parameters = nullptr;
  /// Gives the micro-batch of an index; the tensors stay valid until its backward pass is done.
  std::function<MicroBatch(std::int64_t micro_batch)> load;
  std::int64_t micro_batches_per_replica = 1;
  std::int64_t slots = 1;    ///< the schedule's peak of live micro-batches
  std::span<double> losses;  ///< one per sequence of all micro-batches, in index order; overwritten
};

/// Executes the actions. Replicas follow one another without draining: a replica's gradient sums are handed over as
/// soon as its last micro-batch has gone backward.
void run_pipeline(const PipelineArgs& args);

}  // namespace baekji
