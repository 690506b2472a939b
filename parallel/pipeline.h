#pragma once
// Runs one rank's list of actions over its stages: the only loop over micro-batches there is.

#include <functional>
#include <span>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/parameter_store.h"
#include "parallel/schedule.h"
#include "parallel/stage.h"

namespace baekji {

/// A rank's ends of the edges of its pipeline: groups of two, in which the rank of the earlier stage is rank 0. Null
/// where there is one rank.
struct PipelineLinks {
  Communicator* forward_in = nullptr;    ///< activations come from the rank before
  Communicator* forward_out = nullptr;   ///< and go to the next one
  Communicator* backward_in = nullptr;   ///< gradients come from the next rank
  Communicator* backward_out = nullptr;  ///< and go to the one before
};

/// A stage of this rank, and how many micro-batches it has memory for (Schedule::peak_live, peak_pending).
struct PipelineStage {
  Stage* stage = nullptr;
  std::int64_t slots = 1;
  std::int64_t pending = 0;
};

struct PipelineArgs {
  std::span<const Action> actions;
  std::span<const PipelineStage> stages;  ///< by virtual stage
  ParameterStore* parameters = nullptr;
  PipelineLinks links;
  /// Gives the micro-batch of an index to a virtual stage; its tensors stay valid until its backward pass is done.
  std::function<MicroBatch(std::int64_t virtual_stage, std::int64_t micro_batch)> load;
  std::span<const Tensor> gradients_NC;  ///< kGradientBuffers (one is enough without links), own tokens, residual type
  std::int64_t micro_batches_per_replica = 1;
  /// Of this rank. A schedule may have more, for data ranks with more replicas: those are passed over, but for the
  /// collectives of the other data ranks.
  std::int64_t micro_batches = 1;
  /// fp64, one per sequence of this rank's micro-batches, in index order; overwritten by the rank of the last stage.
  Tensor losses;
};

/// Executes the actions. Replicas follow one another without draining: a replica's gradient sums are handed over as
/// soon as its last micro-batch has gone backward through a stage.
void run_pipeline(const PipelineArgs& args);

/// Forward passes of one micro-batch through all stages of the pipeline, for validation. The ranks of the last stage
/// write the loss of each sequence.
struct EvaluateArgs {
  std::span<const PipelineStage> stages;
  PipelineLinks links;
  MicroBatch batch;
  Tensor losses;  ///< fp64 [B]
};
void evaluate_pipeline(const EvaluateArgs& args, std::int64_t rank, std::int64_t ranks);

}  // namespace baekji
