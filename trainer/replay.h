#pragma once
// Replay: trains a piece of a finished run again, under any layout, and holds every record against the ledger.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "proof/ledger.h"
#include "trainer/execution.h"
#include "trainer/experiment.h"
#include "trainer/run_history.h"
#include "trainer/run_inputs.h"

namespace baekji {

/// A state that a replay can start from: step 0, or a checkpoint whose root the ledger holds.
struct Anchor {
  std::int64_t step = 0;
  std::filesystem::path checkpoint;  ///< empty: step 0, from the seed
};

/// The anchors of a run, ascending, step 0 first. `problem` is told of each checkpoint that is none, and why. Sizes and
/// manifests are checked here, digests of files when they are read.
std::vector<Anchor> anchors_of(const RunFolder& folder, const Ledger& ledger,
                               const std::function<void(const std::string&)>& problem);
/// The newest one at or before `step`.
const Anchor& anchor_for(const std::vector<Anchor>& anchors, std::int64_t step);

/// The first record that differs.
struct Mismatch {
  std::int64_t step = 0;
  std::vector<std::string> members;  ///< "loss", "state_root"...
  std::string recorded;
  std::string computed;
};

struct ReplayResult {
  std::int64_t records = 0;  ///< compared and equal
  std::int64_t roots = 0;    ///< of them, with a state root in the ledger
  std::optional<Mismatch> mismatch;
};

struct ReplayArgs {
  const Experiment& experiment;  ///< with the layout to replay under
  const RunInputs& inputs;
  const Ledger& ledger;
  Anchor anchor;
  std::int64_t last = 0;
  KernelsMaker kernels;
  MachineShare machine;
};
/// Trains from the anchor to step `last` and stops at the first record, or state root, that differs. Collective over
/// `world`; every rank gets the result.
ReplayResult replay(const ReplayArgs& args, Communicator& world);

}  // namespace baekji
