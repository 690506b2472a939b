#pragma once
// The entropy of a source's tokens taken one by one: what a model that knows only frequencies would reach.

#include "data/token_store.h"

namespace baekji {

/// Nats per token of the distribution of the first `most` training tokens. 0 for an empty split.
double unigram_entropy(const TokenStore& store, std::int64_t most = 100'000'000);

}  // namespace baekji
