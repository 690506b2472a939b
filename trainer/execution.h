#pragma once
// Execution: one live execution of an experiment on this rank, without a run folder: what replay and side-by-side
// comparison are made of.

#include <functional>
#include <memory>

#include "checkpoint/checkpoint.h"
#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "parallel/communicator.h"
#include "parallel/launch.h"
#include "parallel/rank_groups.h"
#include "proof/skipped_batches.h"
#include "trainer/engine.h"
#include "trainer/experiment.h"
#include "trainer/run_inputs.h"
#include "trainer/step_record.h"

namespace baekji {

/// Makes the kernels of a rank, on its threads. Empty: those that train() uses.
using KernelsMaker = std::function<std::unique_ptr<Kernels>(ThreadPool& pool)>;

class Execution {
 public:
  struct Args {
    const Experiment& experiment;  ///< with the layout to compute under
    const RunInputs& inputs;
    const SkippedBatches& skipped;
    KernelsMaker kernels;
    MachineShare machine;  ///< of its processors ([layout] threads = 0) and GPUs
  };
  /// One rank of `world`, whose size is that of the mesh. All references outlive the object; every call is collective.
  Execution(const Args& args, Communicator& world);

  void start_from_genesis();
  /// Loads the state of a checkpoint, which `position` says where it stands: the manifest is not asked. Throws when a
  /// file is damaged. Whether it is the state that somebody meant, root() tells.
  void start_from(const std::filesystem::path& checkpoint, const RunPosition& position);

  const RunPosition& position() const { return position_; }
  /// Trains the next step and gives its record, with the state root if asked.
  StepRecord step(bool with_root);
  Digest root() { return engine_.state_root(pool_); }
  Engine& engine() { return engine_; }
  ThreadPool& pool() { return pool_; }
  Communicator& world() { return ranks_.world(); }

  /// Goes back: the next step is the one after `position`. The state is the caller's to restore first.
  void go_back(const RunPosition& position);

 private:
  Args args_;
  ThreadPool pool_;
  std::unique_ptr<Kernels> kernels_;
  RankGroups ranks_;
  Engine engine_;
  RunPosition position_;
};

/// Runs `body` once for each rank of the experiment's mesh: as the ranks of the job when it has as many, otherwise as
/// threads of this one process. Throws when neither fits.
void for_each_rank(const Experiment& experiment, std::int64_t job_size, Communicator* job,
                   const std::function<void(Communicator& world)>& body);

}  // namespace baekji
