#pragma once
// What a start looks at before it trains on token stores: whether they hold the tokens that the contract names.

#include <cstdint>
#include <span>
#include <string>

#include "core/thread_pool.h"
#include "data/batch_order.h"
#include "data/token_store.h"

namespace baekji {

/// Bytes of tokens that a start reads at most: some tenths of a second.
inline constexpr std::int64_t kStartCheckBytes = std::int64_t{256} << 20;

/// Reads the stores, the smallest first, as long as their tokens together stay within `budget_bytes`; of the others it
/// trusts the attributes, which opening has checked. Returns one line that says what was read and what was not. Throws
/// when a store that was read does not hold the tokens that its data root, and so the contract, was made of.
std::string check_stores(std::span<const TokenStore> stores, std::span<const OrderSource> sources, ThreadPool& pool,
                         std::int64_t budget_bytes = kStartCheckBytes);

}  // namespace baekji
