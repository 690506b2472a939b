#pragma once
// Whether a checkpoint is a state of this run: what its manifest says of itself, held against the ledger.

#include <string>

#include "checkpoint/manifest.h"
#include "proof/ledger.h"

namespace baekji {

/// Why not, in words: another contract, a step without a record or with another state root, another position in the
/// data or other counts than the record of its step has. Empty when it is. Never of step 0, which comes from genesis
/// alone.
std::string why_not_of_run(const CheckpointInfo& info, const Ledger& ledger);

}  // namespace baekji
