#include "trainer/rank_memory.h"

#include <algorithm>
#include <array>

#include "core/arena.h"
#include "trainer/run_log.h"

namespace baekji {

std::vector<RankMemory> gather_memory(const RankGroups& ranks, const RankMemory& own) {
  constexpr std::int64_t kColumns = 2;
  Communicator& world = ranks.world();
  std::array<std::int64_t, kColumns> mine{own.planned_bytes, own.peak_bytes};
  std::vector<std::int64_t> all(static_cast<std::size_t>(kColumns * world.size()));
  world.all_gather(Tensor(mine.data(), DType::kInt64, {kColumns}),
                   Tensor(all.data(), DType::kInt64, {kColumns * world.size()}));
  std::vector<RankMemory> result;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(world.size()); ++rank) {
    result.push_back({.at = ranks.mesh().coordinate(static_cast<std::int64_t>(rank)),
                      .planned_bytes = all[kColumns * rank],
                      .peak_bytes = all[kColumns * rank + 1]});
  }
  return result;
}

std::string memory_line(const std::vector<RankMemory>& ranks) {
  const auto share = [](const RankMemory& rank) {
    return 100 * static_cast<double>(rank.peak_bytes) / static_cast<double>(rank.planned_bytes);
  };
  const auto [least, most] = std::minmax_element(
      ranks.begin(), ranks.end(), [&](const RankMemory& a, const RankMemory& b) { return share(a) < share(b); });
  const auto largest = std::max_element(
      ranks.begin(), ranks.end(), [](const RankMemory& a, const RankMemory& b) { return a.peak_bytes < b.peak_bytes; });
  return fmt::format("memory     at most {} ({}); {:.0f} to {:.0f}% of the plans", format_bytes(largest->peak_bytes),
                     largest->at.describe(), share(*least), share(*most));
}

}  // namespace baekji
