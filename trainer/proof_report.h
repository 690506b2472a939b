#pragma once
// What `baekji plan` says of proof.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "trainer/proof_plan.h"

namespace baekji {

/// The "proof" section; `parts` also tells what a root's seconds and a replay's consist of.
std::string proof_table(const ProofPlan& plan, const Experiment& experiment, bool parts);
nlohmann::json to_json(const ProofPlan& plan);

}  // namespace baekji
