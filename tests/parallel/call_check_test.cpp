// Recorded calls of ranks: what fits together is played to its end, what does not is refused by name.

#include "parallel/call_check.h"

#include <gmock/gmock.h>

#include <vector>

namespace baekji {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Two pairs and a group of all four beside the world: each rank's groups are 0 world, 1 pair, 2 all.
void make_groups(Communicator& world) {
  const auto pair = world.split(world.rank() / 2, world.rank(), "pair");
  const auto all = world.split(0, -world.rank(), "all");
}

// What each rank of four calls on its world, its pair and the group of all.
using Body = std::function<void(int rank, Communicator& pair, Communicator& all)>;

struct Played {
  std::int64_t calls = 0;
  std::string error;
};

Played play(const Body& body) {
  const RecordedGroups groups(4, make_groups);
  std::vector<CallRecord> records(4);
  std::vector<const CallRecord*> pointers;
  for (int rank = 0; rank < 4; ++rank) {
    const auto world = groups.world(rank, records[static_cast<std::size_t>(rank)]);
    const auto pair = world->split(rank / 2, rank, "pair");
    const auto all = world->split(0, -rank, "all");
    body(rank, *pair, *all);
    pointers.push_back(&records[static_cast<std::size_t>(rank)]);
  }
  try {
    return {.calls = check_calls({.groups = &groups,
                                  .records = pointers,
                                  .rank_name = [](std::int64_t rank) { return fmt::format("rank {}", rank); }}),
            .error = {}};
  } catch (const Error& error) {
    return {.error = error.what()};
  }
}

// Memory that no call touches.
Tensor values(std::int64_t count, DType type = DType::kInt64) {
  static std::vector<std::int64_t> memory(64);
  return {memory.data(), type, {count}};
}
Tensor others(std::int64_t count) {
  static std::vector<std::int64_t> memory(64);
  return {memory.data(), DType::kInt64, {count}};
}

TEST(CallCheck, GroupsHaveTheRanksThatSplitsPutThere) {
  const RecordedGroups groups(4, make_groups);
  ASSERT_EQ(groups.groups().size(), 4U);
  EXPECT_EQ(groups.groups()[1].ranks, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(groups.groups()[2].ranks, (std::vector<std::int32_t>{2, 3}));
  EXPECT_EQ(groups.groups()[3].ranks, (std::vector<std::int32_t>{3, 2, 1, 0}));
  play([](int rank, Communicator& pair, Communicator& all) {
    EXPECT_EQ(pair.rank(), rank % 2);
    EXPECT_EQ(pair.size(), 2);
    EXPECT_EQ(all.rank(), 3 - rank);
    EXPECT_EQ(all.size(), 4);
  });
}

TEST(CallCheck, CallsThatFitTogetherArePlayedToTheirEnd) {
  const Played played = play([](int rank, Communicator& pair, Communicator& all) {
    all.all_reduce(values(3), ReduceOp::kMax);
    for (int i = 0; i < 2; ++i) {
      if (pair.rank() == 0) {
        pair.start_send(values(5), 1);
      } else {
        pair.receive(values(5), 0);
      }
    }
    pair.finish_sends();
    const Communicator::Ticket ticket = all.start_all_gather(values(2), others(8));
    pair.all_to_all(values(4), others(4));
    all.finish(ticket);
    if (rank < 2) pair.barrier();
  });
  EXPECT_EQ(played.error, "");
  // all_reduce, all_gather, all_to_all, two messages at one end, the end of sends, and a barrier on two ranks
  EXPECT_EQ(played.calls, 4 * (3 + 2 + 1) + 2);
  std::printf("%ld calls of 4 ranks played\n", played.calls);
}

TEST(CallCheck, RanksThatWaitForEachOtherAreNamed) {
  const Played crossed = play([](int rank, Communicator& pair, Communicator& all) {
    if (rank == 1) pair.all_reduce(values(1), ReduceOp::kSumInteger);
    all.all_reduce(values(2), ReduceOp::kSumInteger);
    if (rank == 0) pair.all_reduce(values(1), ReduceOp::kSumInteger);
  });
  EXPECT_THAT(crossed.error, AllOf(HasSubstr("wait for each other for ever"), HasSubstr("rank 0, all group"),
                                   HasSubstr("rank 1 waits for all_reduce 0 of 1 int64 (sum) (pair)")));
  std::puts(crossed.error.c_str());

  const Played both_receive = play([](int /*rank*/, Communicator& pair, Communicator& /*all*/) {
    pair.receive(values(1), 1 - pair.rank());
    pair.send(values(1), 1 - pair.rank());
  });
  EXPECT_THAT(both_receive.error, AllOf(HasSubstr("for ever"), HasSubstr("receive 0 of 1 int64"), HasSubstr("rank 1")));

  // Both send first in one group: on a GPU the receives wait behind the sends.
  const Played both_send = play([](int /*rank*/, Communicator& pair, Communicator& /*all*/) {
    pair.start_send(values(1), 1 - pair.rank());
    pair.receive(values(1), 1 - pair.rank());
    pair.finish_sends();
  });
  EXPECT_THAT(both_send.error, HasSubstr("for ever"));

  const Played left = play([](int rank, Communicator& /*pair*/, Communicator& all) {
    if (rank != 2) all.barrier();
  });
  EXPECT_THAT(left.error, AllOf(HasSubstr("barrier"), HasSubstr("rank 2 has ended")));
}

TEST(CallCheck, DifferentCallsAreRefused) {
  const Played counts = play([](int rank, Communicator& /*pair*/, Communicator& all) {
    all.all_reduce(values(rank == 3 ? 2 : 1), ReduceOp::kMax);
  });
  EXPECT_THAT(counts.error, AllOf(HasSubstr("different calls"), HasSubstr("rank 3: all_reduce 0 of 2 int64")));
  const Played kinds = play([](int rank, Communicator& /*pair*/, Communicator& all) {
    if (rank == 1) return all.barrier();
    all.all_reduce(values(1), ReduceOp::kMax);
  });
  EXPECT_THAT(kinds.error, AllOf(HasSubstr("different calls"), HasSubstr("rank 1: barrier")));
  const Played message = play([](int rank, Communicator& pair, Communicator& /*all*/) {
    if (rank == 2) pair.send(values(4), 1);
    if (rank == 3) pair.receive(values(4, DType::kFloat64), 0);
  });
  EXPECT_THAT(message.error,
              AllOf(HasSubstr("sender and receiver disagree"), HasSubstr("rank 2"), HasSubstr("rank 3")));
  const Played orphan = play([](int rank, Communicator& pair, Communicator& /*all*/) {
    if (rank == 0) pair.start_send(values(4), 1);
  });
  EXPECT_THAT(orphan.error, HasSubstr("nobody receives"));
}

}  // namespace
}  // namespace baekji
