#pragma once
// What of a run's ledger follows from its contract.

#include <string>
#include <string_view>

#include "proof/ledger_grammar.h"

namespace baekji {

/// From the contract's canonical bytes alone. Throws, naming `place`, when they are not a contract of this version.
LedgerRules ledger_rules(std::string_view contract, const std::string& place = "contract");

}  // namespace baekji
