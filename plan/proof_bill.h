#pragma once
// The bill of proof: what a history that can be checked costs its trainer at every step, its owner when an evaluator
// has drawn steps, and the evaluator.

#include <cstdint>
#include <vector>

#include "plan/cluster.h"
#include "plan/profile.h"

namespace baekji {

/// A state as the ranks of one layout hold it.
struct StateSpread {
  double state_bytes = 0;    ///< of all: master weights and both moments
  double busiest_bytes = 0;  ///< what the rank that answers for the most hashes
  double leaves = 0;         ///< of the state root
  std::int64_t ranks = 1;
};

/// What a device's memory copies to the host's, bytes a second, and what a device's share of the cores hashes.
double link_bytes_s(const Cluster& cluster);
double digest_bytes_s(const Cluster& cluster);

/// One state root, whose parts follow one another while training waits.
struct RootSeconds {
  double copy = 0;      ///< of the state to the host; 0 where it is there
  double hash = 0;      ///< SHA-256 of its chunks, on a rank's share of the cores
  double exchange = 0;  ///< of the leaves' digests, all to all ranks
  double fold = 0;      ///< the tree over them, in blocks that ranks divide

  double total() const { return copy + hash + exchange + fold; }
};
RootSeconds root_seconds(const StateSpread& state, const Cluster& cluster, const ImplementationProfile& profile);

/// Steps and states of one run, and the node that checks it.
struct ProofQuestion {
  std::int64_t steps = 0;
  double step_s = 0;  ///< on the owner's cluster, roots not in it
  StateSpread state;  ///< there
  std::int64_t root_every = 0;
  std::int64_t checkpoint_every = 0;
  std::int64_t anchor_every = 0;
  double batch_bytes = 0;  ///< token ids that a rank hashes for a step's batch root

  std::int64_t evaluator_nodes = 1;
  double evaluator_step_s = 0;  ///< 0: the state fits nowhere there
  StateSpread evaluator_state;
  std::vector<std::int64_t> drawn;  ///< how many steps a nonce draws: a row of the bill for each

  const Cluster& cluster;
  const ImplementationProfile& profile;
};

/// For one number of drawn steps. Beside them are always replayed: one step of the first hundredth, the three that
/// moved the weights most, the last one.
struct DrawBill {
  std::int64_t drawn = 0;
  std::int64_t replays = 0;  ///< at most, where no two draws fall on one segment
  double owner_steps = 0;    ///< that the owner trains again to make their states, expected
  double owner_hours = 0;    ///< reading anchors and writing states counted
  double opened_bytes = 0;
  double evaluator_hours = 0;  ///< 0: the state fits nowhere there
};

struct ProofBill {
  RootSeconds root;
  double records_s = 0;            ///< a step's record and batch root
  double step_share = 0;           ///< of a step's time, roots and records, over all steps
  std::int64_t segment_steps = 1;  ///< between states whose roots the ledger holds
  std::int64_t anchor_steps = 0;   ///< between states that are kept for good
  std::int64_t anchors = 0;
  double anchor_bytes = 0;
  double ledger_bytes = 0;

  // Of one drawn segment, for the evaluator.
  double check_s = 0;   ///< its state: files, root, and how far the weights are from the neighbour's
  double load_s = 0;    ///< reading it again, for the replay
  double hash_s = 0;    ///< its files as they are read, its root before and after
  double replay_s = 0;  ///< training

  double segment_s() const { return check_s + load_s + hash_s + replay_s; }
  std::vector<DrawBill> draws;
};

/// Draws beside those of the nonce: the early one, the largest moves, the last step.
inline constexpr std::int64_t kDrawnAlways = 5;

/// Throws unless the run has steps that take time.
ProofBill proof_bill(const ProofQuestion& question);

/// Steps from kept states to `drawn` evenly drawn ones, expected, where states are kept every `interval` of `steps`:
/// of several in one interval only the furthest counts.
double expected_steps_from_anchors(std::int64_t steps, std::int64_t interval, std::int64_t drawn);

}  // namespace baekji
