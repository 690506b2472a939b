#include "proof/challenge.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/random.h"

namespace baekji {

std::vector<std::int64_t> draw_segments(std::string_view nonce, const Digest& head, std::int64_t segments,
                                        std::int64_t count) {
  if (count < 0 || count > segments) {
    throw Error("a challenge draws different segments of the run")
        .values(fmt::format("0 to {}", segments), fmt::format("{}", count))
        .at("--count");
  }
  std::vector<std::int64_t> drawn;
  if (count == 0) return drawn;
  const KeyedPermutation order("baekji.challenge", 0, to_hex(head) + "/" + std::string(nonce),
                               static_cast<std::uint64_t>(segments));
  for (std::int64_t i = 0; i < count; ++i)
    drawn.push_back(static_cast<std::int64_t>(order(static_cast<std::uint64_t>(i))));
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

double miss_probability(std::int64_t segments, std::int64_t forged, std::int64_t count) {
  double miss = 1;
  for (std::int64_t i = 0; i < count; ++i) {
    miss *= static_cast<double>(std::max<std::int64_t>(segments - forged - i, 0)) / static_cast<double>(segments - i);
  }
  return miss;
}

std::int64_t count_for(std::int64_t segments, std::int64_t forged, double miss) {
  std::int64_t count = 0;
  while (count < segments && miss_probability(segments, forged, count) > miss) ++count;
  return count;
}

}  // namespace baekji
