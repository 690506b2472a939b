#include "data/unigram.h"

#include <algorithm>

#include "core/functions.h"

namespace baekji {

double unigram_entropy(const TokenStore& store, std::int64_t most) {
  constexpr std::int64_t kBlock = 1 << 16;
  const std::int64_t tokens = std::min(most, store.train_tokens());
  std::vector<std::int64_t> counts(static_cast<std::size_t>(store.vocabulary()), 0);
  std::vector<std::int32_t> block(static_cast<std::size_t>(kBlock));
  for (std::int64_t begin = 0; begin < tokens; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, tokens - begin);
    store.read(begin, count, block.data());
    for (std::int64_t i = 0; i < count; ++i) ++counts[static_cast<std::size_t>(block[static_cast<std::size_t>(i)])];
  }
  double entropy = 0;
  for (const std::int64_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / static_cast<double>(tokens);
    entropy -= p * log_f64(p);
  }
  return entropy;
}

}  // namespace baekji
