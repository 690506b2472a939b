#pragma once
// Replay: trains a piece of a finished run again, under any layout, and holds every record against the ledger.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "proof/ledger.h"
#include "trainer/anchors.h"
#include "trainer/execution.h"
#include "trainer/experiment.h"
#include "trainer/run_inputs.h"

namespace baekji {

/// The first record, or state root, that differs.
struct Mismatch {
  std::int64_t step = 0;
  std::vector<std::string> members;  ///< "loss", "state_root"...
  std::string recorded;
  std::string computed;
  bool at_start = false;  ///< the state that the replay began with is not the ledger's: nothing was trained
};

struct ReplayResult {
  std::int64_t records = 0;  ///< compared and equal
  std::int64_t roots = 0;    ///< of them, with a state root in the ledger
  bool root_at_end = false;  ///< the state of the last step was compared, and is the ledger's
  bool out_of_time = false;  ///< it stopped because may_go_on() said so
  double seconds = 0;        ///< in training steps
  std::optional<Mismatch> mismatch;

  /// Whether it proves the piece: every record of it, and the state that it ends in.
  bool complete(std::int64_t wanted_records) const {
    return !mismatch && !out_of_time && root_at_end && records == wanted_records;
  }
};

struct ReplayArgs {
  const Experiment& experiment;  ///< with the layout to replay under
  const RunInputs& inputs;
  const Ledger& ledger;
  Anchor anchor;
  std::int64_t last = 0;
  KernelsMaker kernels;
  MachineShare machine;
  std::function<bool()> may_go_on = {};  ///< asked on rank 0 before each step; empty: always
  /// Called after each step that the ledger agrees with, on every rank.
  std::function<void(Execution& run, const StepRecord& record)> visit = {};
};
/// Trains from the anchor to step `last` and stops at the first record, or state root, that differs. The state that it
/// begins with must have the anchor's root. Collective over `world`; every rank gets the result.
ReplayResult replay(const ReplayArgs& args, Communicator& world);

/// Loads the anchor's state, and gives what differs: the root of what was loaded must be the ledger's, whatever the
/// manifest says. Collective over the execution's ranks.
std::optional<Mismatch> start_from_anchor(Execution& run, const Anchor& anchor);

}  // namespace baekji
