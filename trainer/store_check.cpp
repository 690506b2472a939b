#include "trainer/store_check.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/arena.h"

namespace baekji {

std::string check_stores(std::span<const TokenStore> stores, std::span<const OrderSource> sources, ThreadPool& pool,
                         std::int64_t budget_bytes) {
  std::vector<std::size_t> by_size(stores.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](std::size_t a, std::size_t b) { return stores[a].token_bytes() < stores[b].token_bytes(); });
  std::int64_t read_bytes = 0, all_bytes = 0;
  std::string unread;
  for (const std::size_t i : by_size) {
    const std::int64_t bytes = stores[i].token_bytes();
    all_bytes += bytes;
    if (bytes > budget_bytes - read_bytes) {
      unread += fmt::format("{}{} ({})", unread.empty() ? "" : ", ", sources[i].name, format_bytes(bytes));
      continue;
    }
    stores[i].verify({}, &pool);
    read_bytes += bytes;
  }
  if (unread.empty())
    return fmt::format("all tokens read and found as the contract has them ({})", format_bytes(all_bytes));
  return fmt::format(
      "{} of {} of tokens read and found as the contract has them; not read, only their attributes checked: {}",
      format_bytes(read_bytes), format_bytes(all_bytes), unread);
}

}  // namespace baekji
