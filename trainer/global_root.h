#pragma once
// The state root of a model whose state lies on several ranks.

#include "core/thread_pool.h"
#include "parallel/communicator.h"
#include "parallel/parameter_store.h"
#include "proof/state_root.h"

namespace baekji {

/// Some five MB of digests.
inline constexpr std::int64_t kLeavesAtOnce = std::int64_t{1} << 17;

/// The state root over the shards that the ranks of `world` answer for; together they must be the whole model, each
/// chunk once. Collective; every rank gets the root. `store` names all parameters of the model.
Digest global_state_root(std::span<const StateShard> owned, const ParameterStore& store, Communicator& world,
                         ThreadPool& pool);
/// The same over leaves that were hashed before: those of what this rank answers for.
/// Ranks exchange `leaves_at_once`; the same root for any number.
Digest global_state_root(std::span<const StateLeaf> hashed, const ParameterStore& store, Communicator& world,
                         std::int64_t leaves_at_once = kLeavesAtOnce);

}  // namespace baekji
