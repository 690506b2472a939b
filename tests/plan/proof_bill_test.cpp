#include "plan/proof_bill.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "core/random.h"

namespace baekji {
namespace {

Cluster proving_cluster() {
  Cluster c;
  c.place = "test";
  c.devices = 64;
  c.network = {.devices_per_node = 8, .devices_per_domain = 8, .domain_gb_s = 400, .network_gb_s = 50};
  c.host = {.cores_per_device = 10, .link_gb_s = 50, .digest_gb_s = 2};
  c.storage = {.write_gb_s = 100, .read_gb_s = 100, .node_read_gb_s = 10};
  return c;
}

const StateSpread kState{.state_bytes = 120e9, .busiest_bytes = 2e9, .leaves = 4.6e5, .ranks = 64};

ProofQuestion proving(const Cluster& c) {
  return {.steps = 100000,
          .step_s = 2,
          .state = kState,
          .root_every = 1,
          .checkpoint_every = 250,
          .anchor_every = 1000,
          .batch_bytes = 1e6,
          .evaluator_nodes = 1,
          .evaluator_step_s = 20,
          .evaluator_state = {.state_bytes = 120e9, .busiest_bytes = 15e9, .leaves = 4.6e5, .ranks = 8},
          .drawn = {10, 300},
          .cluster = c,
          .profile = implementation_profile("baekji")};
}

TEST(ProofBill, ARootIsCopiedHashedSentAndFolded) {
  const Cluster c = proving_cluster();
  const ImplementationProfile& profile = implementation_profile("baekji");
  const RootSeconds root = root_seconds(kState, c, profile);
  EXPECT_DOUBLE_EQ(root.copy, 2e9 / 50e9);
  EXPECT_DOUBLE_EQ(root.hash, 2e9 / 20e9);
  EXPECT_GT(root.exchange, 2 * 4.6e5 * 40 / 50e9);
  EXPECT_GT(root.fold, 0);
  EXPECT_DOUBLE_EQ(root.total(), root.copy + root.hash + root.exchange + root.fold);
  // Ranks that divide the state divide what each copies and hashes.
  StateSpread divided = kState;
  divided.busiest_bytes /= 4;
  EXPECT_DOUBLE_EQ(root_seconds(divided, c, profile).hash, root.hash / 4);

  Cluster host = c;
  host.device.kind = "cpu";
  host.device.processors = 4;
  host.host = {};
  StateSpread alone = kState;
  alone.ranks = 1;
  const RootSeconds on_host = root_seconds(alone, host, profile);
  EXPECT_EQ(on_host.copy, 0);
  EXPECT_EQ(on_host.exchange, 0);
  EXPECT_DOUBLE_EQ(on_host.hash, 2e9 / (4 * 1.79e9));
}

// What is expected of the owner against draws that are made.
TEST(ProofBill, StepsFromAnchorsAreThoseOfDraws) {
  constexpr std::int64_t kSteps = 20000, kInterval = 1000, kRuns = 400;
  const RandomStream random("baekji test", 7, "draws");
  std::uint64_t at = 0;
  for (const std::int64_t drawn : {1, 5, 30, 200}) {
    double sum = 0;
    for (std::int64_t run = 0; run < kRuns; ++run) {
      std::map<std::int64_t, std::int64_t> furthest;
      for (std::int64_t i = 0; i < drawn; ++i) {
        const auto step = static_cast<std::int64_t>(random.below(at++, kSteps));
        std::int64_t& most = furthest[step / kInterval];
        most = std::max(most, step % kInterval);
      }
      for (const auto& [interval, most] : furthest) sum += static_cast<double>(most);
    }
    const double simulated = sum / kRuns;
    const double expected = expected_steps_from_anchors(kSteps, kInterval, drawn);
    fmt::print("{} drawn: {:.0f} steps expected, {:.0f} in {} draws\n", drawn, expected, simulated, kRuns);
    EXPECT_NEAR(expected, simulated, 0.06 * simulated);
  }
  EXPECT_EQ(expected_steps_from_anchors(kSteps, 1, 10), 0) << "every state is kept";
}

TEST(ProofBill, CountsWhatItSays) {
  const Cluster c = proving_cluster();
  const ProofQuestion q = proving(c);
  const ProofBill b = proof_bill(q);
  EXPECT_EQ(b.segment_steps, 1);
  EXPECT_EQ(b.anchor_steps, 1000);
  EXPECT_EQ(b.anchors, 100);
  EXPECT_DOUBLE_EQ(b.anchor_bytes, 100 * 120e9);
  EXPECT_NEAR(b.step_share, (b.root.total() + b.records_s) / 2, 1e-12);
  EXPECT_DOUBLE_EQ(b.load_s, 12);
  EXPECT_DOUBLE_EQ(b.check_s, 16 + 2 * 120e9 / 20e9);
  EXPECT_DOUBLE_EQ(b.segment_s(), b.check_s + b.load_s + b.hash_s + b.replay_s);
  EXPECT_DOUBLE_EQ(b.replay_s, 20);
  ASSERT_EQ(b.draws.size(), 2U);
  EXPECT_EQ(b.draws[0].replays, 15);
  EXPECT_DOUBLE_EQ(b.draws[0].opened_bytes, 15 * 120e9);
  EXPECT_NEAR(b.draws[0].evaluator_hours, 15 * b.segment_s() / 3600, 1e-12);
  EXPECT_GT(b.draws[1].owner_steps, b.draws[0].owner_steps);
  EXPECT_LT(b.draws[1].owner_steps, 100000);
}

TEST(ProofBill, FewerRootsAreCheaperAndSegmentsLonger) {
  const Cluster c = proving_cluster();
  ProofQuestion q = proving(c);
  const ProofBill every = proof_bill(q);
  q.root_every = 0;
  const ProofBill rare = proof_bill(q);
  EXPECT_EQ(rare.segment_steps, 250);
  EXPECT_LT(rare.step_share, every.step_share);
  EXPECT_LT(rare.ledger_bytes, every.ledger_bytes);
  EXPECT_GT(rare.draws[0].evaluator_hours, 50 * every.draws[0].evaluator_hours);
  q.checkpoint_every = 0;
  EXPECT_EQ(proof_bill(q).segment_steps, q.steps) << "only the ends are committed to";
  EXPECT_EQ(proof_bill(q).anchors, 0);
  EXPECT_EQ(proof_bill(q).draws[1].replays, 1) << "all draws fall on one segment";
}

TEST(ProofBill, AStateThatFitsNowhereHasNoHours) {
  const Cluster c = proving_cluster();
  ProofQuestion q = proving(c);
  q.evaluator_step_s = 0;
  const ProofBill b = proof_bill(q);
  EXPECT_EQ(b.draws[0].evaluator_hours, 0);
  EXPECT_GT(b.draws[0].owner_hours, 0);
  q.steps = 0;
  EXPECT_THROW(proof_bill(q), Error);
  q.steps = 3;  // fewer than are drawn
  EXPECT_EQ(proof_bill(q).draws[1].replays, 3);
}

}  // namespace
}  // namespace baekji
