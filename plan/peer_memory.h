#pragma once
// The memory of a peer's rank, from its papers: what ours holds is planned by the trainer's own arena instead.

#include <cstdint>

#include "plan/profile.h"
#include "plan/workload.h"

namespace baekji {

/// Bytes of one rank, by what they are for.
struct PeerMemory {
  double states = 0;      ///< weights, gradients, optimizer
  double gathered = 0;    ///< weights and gradients of layers that ranks bring together for a while (FSDP)
  double saved = 0;       ///< activations from forward until backward
  double recomputed = 0;  ///< one block's, while it is computed again, with the gradients of them
  double logits = 0;
  double overhead = 0;  ///< context, libraries, what the allocator keeps
  double total() const { return states + gathered + saved + recomputed + logits + overhead; }
};

/// Of the ranks at `pipeline_rank`. Saved activations follow Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1 and
/// appendix), generalised to grouped queries and gated feed-forward layers; micro-batches alive at once are the
/// schedule's. Throws when the schedule's shape cannot be.
PeerMemory peer_memory(const Workload& workload, const ImplementationProfile& profile, std::int64_t pipeline_rank);

/// Bytes of activations that a block keeps of each token when nothing is computed again.
double saved_bytes_per_token(const Workload& workload, const ImplementationProfile& profile);

}  // namespace baekji
