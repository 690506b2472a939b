#include "parallel/gather_text.h"

#include <algorithm>
#include <cstring>

namespace baekji {

std::vector<std::string> gather_text(Communicator& group, std::string_view text) {
  const auto ranks = static_cast<std::size_t>(group.size());
  std::vector<std::int64_t> lengths(ranks);
  auto mine = static_cast<std::int64_t>(text.size());
  group.all_gather(Tensor(&mine, DType::kInt64, {1}), Tensor(lengths.data(), DType::kInt64, {group.size()}));
  // Texts differ in length and parts of a collective do not: all take the room of the longest.
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  const std::int64_t words = std::max<std::int64_t>(ceil_div(longest, std::int64_t{sizeof(std::int32_t)}), 1);
  std::vector<std::int32_t> room(static_cast<std::size_t>(words));
  std::vector<std::int32_t> all(static_cast<std::size_t>(words) * ranks);
  if (!text.empty()) std::memcpy(room.data(), text.data(), text.size());
  group.all_gather(Tensor(room.data(), DType::kInt32, {words}),
                   Tensor(all.data(), DType::kInt32, {words * group.size()}));
  std::vector<std::string> texts(ranks);
  for (std::size_t r = 0; r < ranks; ++r) {
    texts[r].resize(static_cast<std::size_t>(lengths[r]));
    if (lengths[r] > 0) std::memcpy(texts[r].data(), all.data() + r * static_cast<std::size_t>(words), texts[r].size());
  }
  return texts;
}

}  // namespace baekji
