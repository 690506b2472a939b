#pragma once
// What proof costs an experiment on a cluster, and what it buys: plan/'s bill with the trainer's own layouts, on the
// owner's cluster and on an evaluator's machines, and the chances of proof/challenge.h.

#include <string>
#include <vector>

#include "plan/proof_bill.h"
#include "trainer/planner.h"

namespace baekji {

/// The experiment's state on the ranks of its own layout.
StateSpread state_spread(const Experiment& experiment);

/// What an evaluator replays on.
struct EvaluatorPlan {
  std::int64_t asked_nodes = 1;
  std::int64_t nodes = 1;    ///< those asked for, or the fewest doublings of them on which the state fits; 0: none
  std::int64_t devices = 1;  ///< of these
  std::string layout;
  double memory_bytes = 0;  ///< of the rank that holds the most
  std::string lacks;        ///< why the nodes that were asked for do not do; empty: they do
};

/// The chance that a forgery is missed, for one number of drawn steps (each stands for its segment). A change of the
/// last segment, or one whose recorded move is among the three largest, is replayed always.
struct MissChances {
  std::int64_t drawn = 0;
  double tenth = 1, hundredth = 1, thousandth = 1;  ///< such a share of the steps is forged
  double one_segment = 1;                           ///< one segment, anywhere
  double early_segment = 1;                         ///< one segment of the first hundredth
};

struct ProofPlan {
  ProofBill bill;
  StateSpread state;  ///< on the owner's cluster
  EvaluatorPlan evaluator;
  std::vector<MissChances> chances;  ///< by row of the bill
};

/// The bill of the experiment under its own layout; `step_s` is its mean step there.
ProofPlan plan_proof(const Experiment& experiment, const StepQuestion& question, double step_s,
                     std::int64_t evaluator_nodes);

MissChances miss_chances(std::int64_t steps, std::int64_t segment_steps, std::int64_t drawn);

}  // namespace baekji
