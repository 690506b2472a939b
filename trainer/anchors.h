#pragma once
// Anchors: the states that a run folder offers for a replay to start from. A folder's name is a claim; what counts is
// what the ledger holds.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "core/digest.h"
#include "proof/ledger.h"
#include "trainer/run_history.h"
#include "trainer/step_record.h"

namespace baekji {

/// A state that a replay can start from: step 0, from the seed, or a folder that says it holds a committed state. The
/// root is the ledger's; who loads the state computes it again and compares.
struct Anchor {
  RunPosition position;                   ///< as the ledger's record of the step has it
  Digest root{};                          ///< as the ledger has it
  std::filesystem::path checkpoint = {};  ///< empty: step 0

  std::int64_t step() const { return position.step; }
};

/// By step; step 0 is always there, and comes from the seed alone.
using Anchors = std::map<std::int64_t, Anchor>;
/// The anchors in checkpoints/ and opened/. `problem` is told of each entry there that is none, and why: the name, the
/// manifest and the ledger must say the same. Sizes and manifests are checked here, digests when files are read, the
/// root when the state is loaded.
Anchors anchors_of(const RunFolder& folder, const Ledger& ledger,
                   const std::function<void(const std::string&)>& problem);
/// The newest one at or before `step`.
const Anchor& anchor_before(const Anchors& anchors, std::int64_t step);

}  // namespace baekji
