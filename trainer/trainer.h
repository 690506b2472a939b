#pragma once
// Trainer: wires data, engine, ledger, checkpoints and logs into a run.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/file_system.h"
#include "parallel/communicator.h"
#include "parallel/launch.h"
#include "proof/ledger_records.h"
#include "trainer/experiment.h"

namespace baekji {

struct TrainOptions {
  bool accept_kernel_set = false;            ///< go on with a run that another kernel set began
  std::optional<RollbackEvent> rollback;     ///< first go back to a step, and leave batches out
  MachineShare machine;                      ///< of its processors ([layout] threads = 0) and GPUs
  std::shared_ptr<CommunicatorWatch> watch;  ///< told of the running step; null: nobody is
  /// Called with the text of an error before it leaves train(), while the memory that other ranks may be reading from
  /// is still there.
  std::function<void(const std::string&)> failed;
  FileSystem& checkpoint_files = posix_file_system();  ///< tests hold a save up, or make it fail
};

/// Trains the experiment from where its run folder stands (step 0 if it is new) to run.steps. SIGINT and SIGTERM finish
/// the running step, save, and return. Throws Error; the last good checkpoint then stands. No save is under way when it
/// returns.
/// Collective over `world`, which has one rank for each place of the mesh; rank 0 speaks and keeps the run's files.
void train(const Experiment& experiment, const TrainOptions& options, Communicator& world);

}  // namespace baekji
