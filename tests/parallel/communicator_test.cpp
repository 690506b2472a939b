// The collectives of `self` and `threads`, and how a group ends when its ranks disagree, fail or do not come.

#include "parallel/communicator.h"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include "parallel/communicator_threads.h"
#include "parallel/gather_text.h"
#include "parallel/reduction.h"
#include "tests/parallel/communicator_cases.h"

namespace baekji {
namespace {

using cases::message_of;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

std::shared_ptr<CommunicatorWatch> watch_of(double limit_s) {
  auto watch = std::make_shared<CommunicatorWatch>();
  watch->limit_s = limit_s;
  watch->step = 17;
  return watch;
}

TEST(Communicator, SelfGivesWhatOneRankMustGive) {
  const auto self = make_self_communicator();
  cases::check_everything(*self);
  EXPECT_EQ(self->traffic().sent_bytes, 0);
  std::puts("self: every collective is the identity, and sends nothing");
}

TEST(Communicator, ThreadsGiveWhatAnyNumberOfRanksMustGive) {
  for (const int ranks : {1, 2, 3, 4, 8}) {
    run_as_ranks(ranks, [](Communicator& world) { cases::check_everything(world); });
    std::printf("threads: every collective agrees with its oracle on %d ranks\n", ranks);
  }
}

TEST(Communicator, WrongArgumentsAreNamed) {
  const auto self = make_self_communicator();
  std::vector<float> values(6);
  const Tensor t(values.data(), DType::kFloat32, {2, 3});
  EXPECT_THAT(message_of([&] { self->all_reduce(t, ReduceOp::kSumInteger); }), HasSubstr("depend on their order"));
  EXPECT_THAT(message_of([&] { self->all_reduce(t.columns(0, 2), ReduceOp::kMax); }), HasSubstr("contiguous"));
  EXPECT_THAT(message_of([&] { self->all_gather(t.rows(0, 1), t); }), HasSubstr("one part for each rank"));
  EXPECT_THAT(message_of([&] { self->reduce_scatter(t, t.rows(0, 1), ReduceOp::kMax); }), HasSubstr("one part"));
  EXPECT_THAT(message_of([&] { self->send(t, 0); }), HasSubstr("no such rank"));
  EXPECT_THAT(message_of([&] { self->receive(t, 1); }), HasSubstr("no such rank"));
  EXPECT_THAT(message_of([&] { self->broadcast(t, 1); }), HasSubstr("no such rank"));
}

TEST(Communicator, ACallThatDiffersNamesBothRanks) {
  const std::string message = message_of([] {
    run_as_ranks(3, [](Communicator& world) {
      std::vector<std::int64_t> values(world.rank() == 1 ? 5 : 4);
      world.all_reduce(cases::tensor_of(values), ReduceOp::kSumInteger);
    });
  });
  EXPECT_THAT(message, AllOf(HasSubstr("different calls"), HasSubstr("all_reduce 0 of 5 int64 (sum)"),
                             HasSubstr("all_reduce 0 of 4 int64 (sum)"), HasSubstr("rank 1")));
  const std::string kinds = message_of([] {
    run_as_ranks(2, [](Communicator& world) {
      std::vector<std::int64_t> values(4);
      if (world.rank() == 0)
        world.broadcast(cases::tensor_of(values), 0);
      else
        world.barrier();
    });
  });
  EXPECT_THAT(kinds, AllOf(HasSubstr("broadcast 0 of 4 int64 from number 0 of the group"), HasSubstr("barrier 0")));
}

TEST(Communicator, SenderAndReceiverMustAgree) {
  const std::string message = message_of([] {
    run_as_ranks(2, [](Communicator& world) {
      std::vector<float> values(static_cast<std::size_t>(3 + world.rank()));
      if (world.rank() == 0)
        world.send(cases::tensor_of(values), 1);
      else
        world.receive(cases::tensor_of(values), 0);
    });
  });
  EXPECT_THAT(message, AllOf(HasSubstr("send 0 of 3 fp32"), HasSubstr("receive 0 of 4 fp32")));
}

TEST(Communicator, AStuckCollectiveNamesWhoHasNotCome) {
  const std::string message = message_of([] {
    run_as_ranks(
        4,
        [](Communicator& world) {
          const auto group = world.split(0, world.rank(), "tensor");
          if (world.rank() == 2) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
          if (world.rank() != 2) group->barrier();
        },
        watch_of(1));
  });
  EXPECT_THAT(message, AllOf(HasSubstr("stuck"), HasSubstr("not arrived: rank 2"), HasSubstr("barrier 0 within 1 s"),
                             HasSubstr("tensor group, step 17")));
  const std::string sent = message_of([] {
    run_as_ranks(
        2,
        [](Communicator& world) {
          std::vector<float> values(3);
          if (world.rank() == 0) world.send(cases::tensor_of(values), 1);
        },
        watch_of(0.5));
  });
  EXPECT_THAT(sent, HasSubstr("rank 1 has not received"));
  std::puts("stuck collectives name the call, the group, the step and the absent ranks");
}

TEST(Communicator, MessagesNameRanksByTheirPlaceInTheJob) {
  const auto watch = watch_of(0.5);
  watch->rank_name = [](std::int64_t rank) { return fmt::format("rank {} (place {})", rank, 10 * rank); };
  // Two groups of two; in the second one rank 3 of the job, its rank 1, never comes.
  const auto message_when = [&](bool sends) {
    return message_of([&] {
      run_as_ranks(
          4,
          [&](Communicator& world) {
            const auto pair = world.split(world.rank() / 2, world.rank(), "pair");
            std::vector<float> values(3);
            if (world.rank() != 2) return;
            if (sends)
              pair->receive(cases::tensor_of(values), 1);
            else
              pair->barrier();
          },
          watch);
    });
  };
  EXPECT_THAT(message_when(true), AllOf(HasSubstr("came:     rank 3 (place 30) has not sent"),
                                        HasSubstr("where:    rank 2 (place 20), pair group, step 17")));
  EXPECT_THAT(message_when(false), HasSubstr("not arrived: rank 3 (place 30)"));
}

TEST(Communicator, AFailingRankBringsTheOthersDownAtOnce) {
  const auto start = std::chrono::steady_clock::now();
  const std::string message = message_of([] {
    run_as_ranks(
        4,
        [](Communicator& world) {
          if (world.rank() == 3) throw Error("rank 3 has a problem of its own");
          std::vector<float> values(3);
          if (world.rank() == 0)
            world.receive(cases::tensor_of(values), 3);
          else
            world.barrier();
        },
        watch_of(60));
  });
  const double waited_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_THAT(message, AllOf(HasSubstr("rank 3 of 4"), HasSubstr("a problem of its own")));
  EXPECT_LT(waited_s, 30);  // not the limit
}

TEST(GatherText, TextsOfAnyLengthReachEveryRank) {
  run_as_ranks(3, [](Communicator& world) {
    const auto text_of = [](int rank) {
      return std::string(static_cast<std::size_t>(rank * 5), static_cast<char>('a' + rank));
    };
    const std::vector<std::string> all = gather_text(world, text_of(world.rank()));
    for (int r = 0; r < 3; ++r) cases::expect(all[static_cast<std::size_t>(r)] == text_of(r), "text of a rank");
  });
  EXPECT_EQ(gather_text(*make_self_communicator(), ""), std::vector<std::string>{""});
}

TEST(Reduction, NothingDependsOnTheOrderOfRanks) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> special{nan, -nan, 0.0F, -0.0F, 1.0F, -1.0F, std::numeric_limits<float>::infinity()};
  for (const float a : special) {
    for (const float b : special) {
      float ab = a;
      float ba = b;
      combine(DType::kFloat32, ReduceOp::kMax, &ab, &b, 1);
      combine(DType::kFloat32, ReduceOp::kMax, &ba, &a, 1);
      EXPECT_EQ(std::bit_cast<std::uint32_t>(ab), std::bit_cast<std::uint32_t>(ba)) << a << " and " << b;
    }
  }
}

}  // namespace
}  // namespace baekji
