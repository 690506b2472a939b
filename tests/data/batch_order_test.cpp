#include "data/batch_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <map>
#include <set>
#include <thread>

#include "core/error.h"

namespace baekji {
namespace {

BatchOrder two_sources(std::uint64_t seed = 7, std::int64_t tokens_a = 100'003, std::int64_t tokens_b = 50'021) {
  return BatchOrder(seed, {{.name = "english", .train_tokens = tokens_a}, {.name = "korean", .train_tokens = tokens_b}},
                    {{.from_step = 1, .weights = {3, 1}, .context = 64, .global_batch = 24}});
}

TEST(BatchOrder, IsAPureFunctionInAnyOrderAndFromAnyThread) {
  const BatchOrder order = two_sources();
  std::vector<SequencePosition> forward;
  for (std::int64_t step = 1; step <= 400; ++step) {
    for (std::int64_t i = 0; i < 24; ++i) forward.push_back(order.at(step, i));
  }
  // Backwards on a fresh object, from four threads.
  const BatchOrder fresh = two_sources();
  std::atomic<int> differences = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (auto n = static_cast<std::int64_t>(forward.size()) - 1 - t; n >= 0; n -= 4) {
        if (fresh.at(n / 24 + 1, n % 24) != forward[static_cast<std::size_t>(n)]) differences += 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(differences, 0);
  std::printf("%zu sequences agree forwards, backwards and from 4 threads\n", forward.size());
}

TEST(BatchOrder, EachPassVisitsEachSpanOnceAndPassesDiffer) {
  const BatchOrder order(3, {{.name = "only", .train_tokens = 64 * 50 + 17}},
                         {{.from_step = 1, .weights = {1}, .context = 64, .global_batch = 10}});
  ASSERT_EQ(order.spans_per_pass(0), 50);
  std::map<std::int64_t, std::vector<std::int64_t>> begins;  // by pass
  for (std::int64_t step = 1; step <= 20; ++step) {
    for (std::int64_t i = 0; i < 10; ++i) {
      const SequencePosition at = order.at(step, i);
      ASSERT_GE(at.begin, 0);
      ASSERT_LE(at.begin + at.length, 64 * 50 + 17 - 1);
      begins[at.pass].push_back(at.begin);
    }
  }
  ASSERT_EQ(begins.size(), 4U);
  std::set<std::int64_t> phases;
  for (auto& [pass, list] : begins) {
    const std::set<std::int64_t> set(list.begin(), list.end());
    ASSERT_EQ(set.size(), 50U);
    phases.insert(*set.begin());
    std::int64_t expected = *set.begin();
    for (const std::int64_t begin : set) {
      EXPECT_EQ(begin, expected);
      expected += 64;
    }
    if (pass > 0) {
      EXPECT_NE(list, begins[0]);
    }
  }
  EXPECT_GT(phases.size(), 1U) << "passes should not all cut the source at the same places";
}

TEST(BatchOrder, WeightsHoldExactlyInEachBlockAndNearlyInEachStep) {
  const BatchOrder order(11,
                         {{.name = "a", .train_tokens = 1'000'000},
                          {.name = "b", .train_tokens = 1'000'000},
                          {.name = "c", .train_tokens = 100}},
                         {{.from_step = 1, .weights = {0.7, 0.3, 0}, .context = 16, .global_batch = 256}});
  EXPECT_EQ(order.quota(0, 0), 2867);
  EXPECT_EQ(order.quota(0, 1), 1229);
  EXPECT_EQ(order.quota(0, 2), 0);
  for (int block = 0; block < 3; ++block) {
    std::int64_t from_b = 0;
    for (std::int64_t step = 1 + block * 16; step <= 16 + block * 16; ++step) {
      for (std::int64_t i = 0; i < 256; ++i) from_b += order.at(step, i).source;
    }
    EXPECT_EQ(from_b, 1229);
  }
  EXPECT_EQ(order.tokens_drawn(16, 1), 1229 * 16);
  EXPECT_EQ(order.tokens_drawn(48), 48 * 256 * 16);
  EXPECT_EQ(order.data_position(48), 48 * 256);
}

TEST(BatchOrder, AStageChangeRepeatsNoTokenBeforeThePassEnds) {
  const std::int64_t tokens = 512 * 400 + 1;
  const BatchOrder order(5, {{.name = "a", .train_tokens = tokens}, {.name = "b", .train_tokens = tokens}},
                         {{.from_step = 1, .weights = {1, 1}, .context = 128, .global_batch = 5},
                          {.from_step = 8, .weights = {3, 1}, .context = 512, .global_batch = 7},
                          {.from_step = 30, .weights = {0, 1}, .context = 256, .global_batch = 3}});
  EXPECT_EQ(order.span(), 512);
  std::vector<std::vector<int>> seen(2, std::vector<int>(static_cast<std::size_t>(tokens), 0));
  std::vector<std::int64_t> counted(2, 0);
  for (std::int64_t step = 1; step <= 60; ++step) {
    const OrderStage& stage = order.stage(step);
    for (std::int64_t i = 0; i < stage.global_batch; ++i) {
      const SequencePosition at = order.at(step, i);
      ASSERT_EQ(at.length, stage.context);
      ASSERT_EQ(at.pass, 0);
      const auto s = static_cast<std::size_t>(at.source);
      counted[s] += at.length;
      for (std::int64_t t = at.begin; t < at.begin + at.length; ++t) seen[s][static_cast<std::size_t>(t)] += 1;
    }
    EXPECT_EQ(order.tokens_drawn(step, 0), counted[0]) << step;
    EXPECT_EQ(order.tokens_drawn(step, 1), counted[1]) << step;
  }
  for (const auto& source : seen) EXPECT_LE(*std::max_element(source.begin(), source.end()), 1);
  EXPECT_EQ(order.data_position(7), 35);
  EXPECT_EQ(order.data_position(60), 35 + 22 * 7 + 31 * 3);
  std::printf("3 stages, %lld + %lld tokens drawn, none twice\n", static_cast<long long>(counted[0]),
              static_cast<long long>(counted[1]));
}

TEST(BatchOrder, NamesTheStepWhereASourceStartsToRepeat) {
  const BatchOrder order = two_sources(9, 100'000, 64 * 30 + 1);
  std::int64_t first = 0;
  std::int64_t highest = 0;
  for (std::int64_t step = 1; step <= 40; ++step) {
    for (std::int64_t i = 0; i < 24; ++i) {
      const SequencePosition at = order.at(step, i);
      if (at.source == 1 && at.pass == 1 && first == 0) first = step;
      if (at.source == 1) highest = std::max(highest, at.pass);
    }
    EXPECT_EQ(order.highest_pass(step, 1), highest);
  }
  ASSERT_GT(first, 0);
  EXPECT_EQ(order.first_step_of_pass(1, 1, 40), first);
  EXPECT_EQ(order.first_step_of_pass(1, 1, first - 1), std::nullopt);
  EXPECT_EQ(order.first_step_of_pass(0, 1, 40), std::nullopt);
}

TEST(BatchOrder, SeedsAndNamesKeyTheOrder) {
  const BatchOrder a = two_sources(1);
  const BatchOrder b = two_sources(2);
  int same = 0;
  for (std::int64_t i = 0; i < 24; ++i) same += a.at(1, i) == b.at(1, i) ? 1 : 0;
  EXPECT_LT(same, 4);
}

TEST(BatchOrder, LiteralValuesPinTheOrder) {
  // These may change only together with docs/formats/batch-order.md: a change breaks every recorded experiment.
  const BatchOrder order = two_sources();
  // They were computed a second time by a separate program written from that document.
  EXPECT_EQ(order.at(1, 0), (SequencePosition{.source = 0, .pass = 0, .begin = 37921, .length = 64}));
  EXPECT_EQ(order.at(1000, 5), (SequencePosition{.source = 0, .pass = 11, .begin = 8277, .length = 64}));
  MerkleBuilder tree;
  for (std::int64_t index = 0; index < 24; ++index) {
    const SequencePosition at = order.at(1, index);
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = at.begin; i <= at.begin + at.length; ++i)
      tokens.push_back(static_cast<std::int32_t>((31 * i + 1009 * at.source) % 70000));
    const Digest leaf = merkle_leaf(sequence_bytes(at, tokens));
    if (index == 0) {
      EXPECT_EQ(to_hex(leaf), "3a2ece13092b7c5d002a411775649a6e53937492549ca63b6f688abb225d30b8");
    }
    tree.add(leaf);
  }
  EXPECT_EQ(to_hex(tree.root()), "a192c597d751c938bbd32186bf8aa41cefc305cb795f8472693b501b5cb3063c");
}

TEST(BatchOrder, TheLedgerLeafHasPlaceAndTokens) {
  const std::int32_t tokens[] = {1, 70000, 255};
  const std::string bytes = sequence_bytes({.source = 1, .pass = 2, .begin = 0x0102030405, .length = 2}, tokens);
  EXPECT_EQ(bytes, std::string("\x01\0\0\0\x02\0\0\0\x05\x04\x03\x02\x01\0\0\0\x02\0\0\0"
                               "\x01\0\0\0\x70\x11\x01\0\xff\0\0\0",
                               32));
  EXPECT_THROW(sequence_bytes({.length = 3}, tokens), Error) << "a target is missing";
  EXPECT_THROW(sequence_bytes({.length = 1}, tokens), Error);
}

TEST(BatchOrder, RefusesWhatItCannotOrder) {
  const std::vector<OrderSource> sources{{.name = "a", .train_tokens = 1000}, {.name = "b", .train_tokens = 1000}};
  const auto make = [&](std::vector<OrderStage> stages) { return BatchOrder(1, sources, std::move(stages)); };
  const OrderStage good{.from_step = 1, .weights = {1, 1}, .context = 64, .global_batch = 4};
  EXPECT_NO_THROW(make({good}));
  EXPECT_THROW(make({}), Error);
  EXPECT_THROW(BatchOrder(1, {}, {good}), Error);
  const auto changed = [&](auto change) {
    OrderStage stage = good;
    change(stage);
    return stage;
  };
  EXPECT_THROW(make({changed([](OrderStage& s) { s.from_step = 2; })}), Error);
  EXPECT_THROW(make({good, good}), Error);
  EXPECT_THROW(make({changed([](OrderStage& s) { s.weights = {1}; })}), Error);
  EXPECT_THROW(make({changed([](OrderStage& s) { s.weights = {1, -1}; })}), Error);
  EXPECT_THROW(make({changed([](OrderStage& s) { s.weights = {0, 0}; })}), Error);
  EXPECT_THROW(make({changed([](OrderStage& s) {
                 s.weights = {1, std::numeric_limits<double>::quiet_NaN()};
               })}),
               Error);
  EXPECT_THROW(make({changed([](OrderStage& s) { s.weights = {1, 1e-5}; })}), Error);
  EXPECT_THROW(make({changed([](OrderStage& s) { s.context = 0; })}), Error);
  EXPECT_THROW(make({changed([](OrderStage& s) { s.global_batch = 0; })}), Error);
  EXPECT_THROW(make({changed([](OrderStage& s) { s.context = 1000; })}), Error) << "needs 1001 tokens";
  EXPECT_THROW(make({good, changed([](OrderStage& s) { s.from_step = 5, s.context = 100; })}), Error);
  EXPECT_THROW(BatchOrder(1, {{.name = "a", .train_tokens = 1000}, {.name = "a", .train_tokens = 1000}}, {good}),
               Error);
  const BatchOrder order = make({good});
  EXPECT_THROW(order.at(0, 0), Error);
  EXPECT_THROW(order.at(1, 4), Error);
  EXPECT_THROW(order.at(1, -1), Error);
}

}  // namespace
}  // namespace baekji
