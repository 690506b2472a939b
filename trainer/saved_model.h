#pragma once
// SavedModel: a run's newest good checkpoint, opened for use without training: generation and inspection.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "core/arena.h"
#include "core/thread_pool.h"
#include "data/tokenizer.h"
#include "kernels/kernels.h"
#include "model/generator.h"
#include "model/parameters.h"
#include "parallel/parameter_store.h"
#include "proof/ledger.h"
#include "trainer/experiment.h"
#include "trainer/run_history.h"

namespace baekji {

/// The folder of a run; throws, with a hint, when `path` is none.
RunFolder open_run_folder(const std::filesystem::path& path);

/// The run's state of `step`, from checkpoints/ or else opened/, or without one its newest good checkpoint: exact
/// to the last byte (Checkpoint::require_exact), and what the ledger says of this step: its state root, and its
/// record's position and tokens. Throws when there is none, with what was wrong with those that are there.
Checkpoint open_saved_checkpoint(const RunFolder& folder, const Ledger& ledger, ThreadPool& pool,
                                 std::optional<std::int64_t> step = {});

/// The tokenizer of the folder. Throws unless it is the one that the contract names, and that contract the ledger's.
Tokenizer load_run_tokenizer(const RunFolder& folder);

class SavedModel {
 public:
  /// Loads the weights of open_saved_checkpoint(). `arena` and `kernels` outlive it.
  SavedModel(const RunFolder& folder, ThreadPool& pool, Kernels& kernels, Arena& arena,
             std::optional<std::int64_t> step = {});

  const Experiment& experiment() const { return experiment_; }
  const CheckpointInfo& info() const { return info_; }
  const ModelParameters& declared() const { return declared_; }
  ParameterStore& parameters() { return parameters_; }
  /// The stage of the experiment that the checkpoint belongs to.
  const TrainingStage& stage() const { return experiment_.stage(std::max<std::int64_t>(info_.step, 1)); }

  /// A generator over its weights, with the positions of its stage.
  Generator::Args generator_args(Kernels& kernels);

 private:
  void load(Checkpoint& checkpoint, Kernels& kernels);

  Experiment experiment_;
  ModelParameters declared_;
  ParameterStore parameters_;
  CheckpointInfo info_;
};

}  // namespace baekji
