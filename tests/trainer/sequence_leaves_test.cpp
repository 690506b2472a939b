// What ranks read becomes the step's batch root; ranks that read the same sequence must have found the same tokens.

#include "trainer/sequence_leaves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "parallel/communicator_threads.h"

namespace baekji {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Digests whose words are negative, zero, and the least and the largest there are: all of them must travel.
Digest digest_of(int i) {
  Digest digest{};
  if (i == 1) digest.fill(0xFF);
  if (i == 2)
    for (std::size_t b = 7; b < digest.size(); b += 8) digest[b] = 0x80;
  if (i == 3)
    for (std::size_t b = 7; b < digest.size(); b += 8) digest[b] = 0x7F;
  if (i > 3) digest = sha256(std::string("leaf ") + std::to_string(i));
  return digest;
}

constexpr Mesh kMesh{.pipeline = 2, .data = 2, .tensor = 1};
constexpr std::int64_t kSequences = 8;

// Two data ranks read four sequences each, on both ranks of their pipeline; `change` says what a rank notes instead.
template <class Change>
std::vector<Digest> roots(const Change& change) {
  std::vector<Digest> all(static_cast<std::size_t>(kMesh.size()));
  run_as_ranks(static_cast<int>(kMesh.size()), [&](Communicator& world) {
    const RankGroups ranks(kMesh, world);
    SequenceLeaves leaves;
    leaves.begin(kSequences);
    for (std::int64_t i = 0; i < kSequences / 2; ++i) {
      const std::int64_t sequence = ranks.coordinate().data * kSequences / 2 + i;
      change(leaves, ranks, sequence);
    }
    leaves.exchange(world);
    all[static_cast<std::size_t>(world.rank())] = leaves.root(ranks, 17);
  });
  return all;
}

template <class Work>
std::string error_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(SequenceLeaves, AllRanksHaveTheRootOfAllLeaves) {
  MerkleBuilder tree;
  for (int i = 0; i < kSequences; ++i) tree.add(digest_of(i));
  const auto all = roots([](SequenceLeaves& leaves, const RankGroups& ranks, std::int64_t sequence) {
    leaves.note(sequence, digest_of(static_cast<int>(sequence)), ranks);
    leaves.note(sequence, digest_of(static_cast<int>(sequence)), ranks);  // by the next stage of this rank
  });
  for (const Digest& root : all) EXPECT_EQ(to_hex(root), to_hex(tree.root()));
}

// Also where the other leaf is the one of the least words, which a maximum alone would not show.
TEST(SequenceLeaves, RanksThatDifferAreNamed) {
  for (const int other : {0, 1, 2, 3, 99}) {
    for (const std::int64_t changed : {std::int64_t{5}, std::int64_t{2}}) {
      if (other == changed) continue;
      const std::string error = error_of([&] {
        roots([&](SequenceLeaves& leaves, const RankGroups& ranks, std::int64_t sequence) {
          const bool differs = sequence == changed && ranks.coordinate().pipeline == 1;
          leaves.note(sequence, digest_of(differs ? other : static_cast<int>(sequence)), ranks);
        });
      });
      const std::int64_t first = changed >= kSequences / 2 ? 1 : 0;  // the data rank
      EXPECT_THAT(error,
                  AllOf(HasSubstr("batch 17, sequence " + std::to_string(changed)),
                        HasSubstr(to_hex(digest_of(static_cast<int>(changed))) + " by " + kMesh.rank_name(first)),
                        HasSubstr(to_hex(digest_of(other)) + " by " + kMesh.rank_name(first + kMesh.data))));
    }
  }
}

TEST(SequenceLeaves, ASequenceThatNobodyReadIsAnError) {
  EXPECT_THAT(error_of([] {
                roots([](SequenceLeaves& leaves, const RankGroups& ranks, std::int64_t sequence) {
                  if (sequence != 3) leaves.note(sequence, digest_of(static_cast<int>(sequence)), ranks);
                });
              }),
              AllOf(HasSubstr("sequence 3"), HasSubstr("nothing")));
}

TEST(SequenceLeaves, ARankThatReadsAgainMustFindTheSame) {
  EXPECT_THAT(error_of([] {
                roots([](SequenceLeaves& leaves, const RankGroups& ranks, std::int64_t sequence) {
                  leaves.note(sequence, digest_of(static_cast<int>(sequence)), ranks);
                  if (sequence == 6) leaves.note(sequence, digest_of(50), ranks);
                });
              }),
              AllOf(HasSubstr("read again"), HasSubstr("sequence 6"), HasSubstr(to_hex(digest_of(50)))));
}

}  // namespace
}  // namespace baekji
