#include "trainer/sequence_leaves.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/error.h"

namespace baekji {
namespace {

constexpr std::int64_t kUnread = std::numeric_limits<std::int64_t>::min();  // what any other value is more than
constexpr const char* kWhyLeavesDiffer = "a token store changed during the run, or ranks read copies of it that differ";

}  // namespace

void SequenceLeaves::begin(std::int64_t sequences) {
  Leaf absent;
  absent.words.fill(kUnread);
  absent.complements.fill(kUnread);
  own_.assign(static_cast<std::size_t>(sequences), absent);
}

void SequenceLeaves::note(std::int64_t sequence, const Digest& leaf, const RankGroups& ranks) {
  Leaf& own = own_.at(static_cast<std::size_t>(sequence));
  const bool is_new = own.words[0] == kUnread && own.complements[0] == kUnread;
  std::array<std::int64_t, kWords> words;
  std::memcpy(words.data(), leaf.data(), sizeof words);
  if (!is_new && own.words != words) {
    Digest before;
    std::memcpy(before.data(), own.words.data(), sizeof before);
    throw Error("a sequence that is read again has other tokens")
        .values(to_hex(before), to_hex(leaf))
        .at(fmt::format("sequence {}, {}", sequence, ranks.mesh().rank_name(ranks.world().rank())))
        .hint(kWhyLeavesDiffer);
  }
  own.words = words;
  std::transform(words.begin(), words.end(), own.complements.begin(), [](std::int64_t word) { return ~word; });
}

void SequenceLeaves::exchange(Communicator& world) {
  all_ = own_;
  const auto integers = static_cast<std::int64_t>(all_.size() * sizeof(Leaf) / sizeof(std::int64_t));
  world.all_reduce(Tensor(all_.data(), DType::kInt64, {integers}), ReduceOp::kMax);
}

Digest SequenceLeaves::root(const RankGroups& ranks, std::int64_t batch) const {
  MerkleBuilder tree;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    const Leaf& leaf = all_[i];
    for (std::size_t w = 0; w < kWords; ++w) {
      if (leaf.words[w] != ~leaf.complements[w]) tell_who_differs(ranks, batch, i);
    }
    Digest digest;
    std::memcpy(digest.data(), leaf.words.data(), sizeof digest);
    tree.add(digest);
  }
  return tree.root();
}

// Every rank is here, because all saw the same maxima.
void SequenceLeaves::tell_who_differs(const RankGroups& ranks, std::int64_t batch, std::size_t sequence) const {
  const int size = ranks.world().size();
  Leaf mine = own_[sequence];
  std::vector<Leaf> theirs(static_cast<std::size_t>(size));
  constexpr auto kIntegers = static_cast<std::int64_t>(sizeof(Leaf) / sizeof(std::int64_t));
  ranks.world().all_gather(Tensor(&mine, DType::kInt64, {kIntegers}),
                           Tensor(theirs.data(), DType::kInt64, {size * kIntegers}));
  std::vector<std::string> found;
  std::vector<std::array<std::int64_t, kWords>> seen;
  for (int r = 0; r < size; ++r) {
    const Leaf& leaf = theirs[static_cast<std::size_t>(r)];
    const bool absent = leaf.words[0] == kUnread && leaf.complements[0] == kUnread;
    if (absent || std::find(seen.begin(), seen.end(), leaf.words) != seen.end()) continue;
    seen.push_back(leaf.words);
    Digest digest;
    std::memcpy(digest.data(), leaf.words.data(), sizeof digest);
    found.push_back(fmt::format("{} by {}", to_hex(digest), ranks.mesh().rank_name(r)));
  }
  found.resize(std::max<std::size_t>(found.size(), 2), "nothing");
  throw Error("ranks do not find the same tokens in a sequence")
      .values(found[0], found[1])
      .at(fmt::format("batch {}, sequence {}", batch, sequence))
      .hint(kWhyLeavesDiffer);
}

}  // namespace baekji
