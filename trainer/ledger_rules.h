#pragma once
// What of a run's ledger follows from its contract.

#include <string>
#include <string_view>

#include "proof/ledger.h"
#include "proof/ledger_grammar.h"
#include "trainer/run_history.h"

namespace baekji {

/// From the contract's canonical bytes alone. Throws, naming `place`, when they are not a contract of this version.
LedgerRules ledger_rules(std::string_view contract, const std::string& place = "contract");

/// The ledger of a run folder, read only: every record is held against the grammar and the contract that stands beside
/// it, which must be the one that the ledger began with.
Ledger open_run_ledger(const RunFolder& folder);

}  // namespace baekji
