#pragma once
// SavedModel: a run's newest good checkpoint, opened for use without training: generation and inspection.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "core/arena.h"
#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "model/parameters.h"
#include "parallel/parameter_store.h"
#include "trainer/experiment.h"
#include "trainer/run_history.h"

namespace baekji {

/// The folder of a run; throws, with a hint, when `path` is none.
RunFolder open_run_folder(const std::filesystem::path& path);

/// The newest checkpoint of a run that verifies and whose state root the run's ledger holds; throws when there is none.
Checkpoint newest_good_checkpoint(const RunFolder& folder, ThreadPool& pool);

class SavedModel {
 public:
  /// Loads the weights of the newest good checkpoint whose state root the run's ledger holds. `arena` and `kernels`
  /// outlive it.
  SavedModel(const RunFolder& folder, ThreadPool& pool, Kernels& kernels, Arena& arena);

  const Experiment& experiment() const { return experiment_; }
  const CheckpointInfo& info() const { return info_; }
  const ModelParameters& declared() const { return declared_; }
  ParameterStore& parameters() { return parameters_; }
  /// The stage of the experiment that the checkpoint belongs to.
  const TrainingStage& stage() const { return experiment_.stage(std::max<std::int64_t>(info_.step, 1)); }

 private:
  void load(Checkpoint& checkpoint);

  Experiment experiment_;
  ModelParameters declared_;
  ParameterStore parameters_;
  CheckpointInfo info_;
};

}  // namespace baekji
