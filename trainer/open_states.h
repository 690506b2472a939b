#pragma once
// Opening states: the run's owner makes states again that an evaluator drew, from the ones that were kept, so that
// each can be the beginning of a replay.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trainer/verify.h"

namespace baekji {

struct OpenOptions {
  std::filesystem::path run;
  std::vector<std::int64_t> steps;  ///< drawn: of each the committed state at or before the step before it is opened
  std::filesystem::path output;     ///< empty: RUN/opened
  std::vector<std::string> layout;  ///< keys of [layout] to train under
  std::vector<std::string> stores;  ///< where token stores are on this machine: "NAME=PATH"
};

/// Trains from the nearest state that is there to each that is wanted, holds every record and root on the way against
/// the ledger, and saves the states as step-N. Appends nothing to the ledger. A state that is there already stays.
/// Throws when a state cannot be made: then the earlier ones are there. Collective over the job; `say` on rank 0.
void open_states(const OpenOptions& options, const VerifyJob& job, const std::function<void(const std::string&)>& say);

/// The committed states that the steps of an evaluator's list need, ascending, each once, step 0 left out. Throws on a
/// step that the ledger does not have.
std::vector<std::int64_t> states_to_open(const Ledger& ledger, const std::vector<std::int64_t>& steps);

}  // namespace baekji
