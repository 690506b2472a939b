#include "plan/proof_bill.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/types.h"
#include "plan/network_cost.h"

namespace baekji {
namespace {

// Where a cluster file leaves them out: OpenSSL 3 on a Zen 4 core with SHA instructions; PCIe 4.0 x16 as copies reach
// it.
constexpr double kDigestGbS = 1.79;
constexpr double kLinkGbS = 25;
constexpr double kCoresPerDevice = 8;
// A node of a Merkle tree on one core: two blocks of SHA-256 and OpenSSL's calls around them (measured, a Xeon with SHA
// instructions, 300 to 390 ns).
constexpr double kNode_s = 0.35e-6;
// What a leaf sends: its digest, and the count of ranks that answer for it.
constexpr double kLeafBytes = 40;
constexpr double kRootBytes = 32;
// Clearing, adding and looking through them on one core, in pieces that its cache holds: assumed.
constexpr double kPasses = 4;
constexpr double kPassGbS = 20;
// As trainer/global_root.h has it.
constexpr double kLeavesAtOnce = 131072;
// A step's record with its newline and its leaf in the log; with a root it is longer (docs/formats/ledger.md, log.md).
constexpr double kRecordBytes = 411;
constexpr double kRootTextBytes = 80;
// Appending it, and its part of a publication (bench/proof, on one core).
constexpr double kRecord_s = 4e-5;

double given_or(double value, double otherwise) {
  return value > 0 ? value : otherwise;
}

double node_read_s(const ProofQuestion& q, double bytes) {
  const StorageFigures& s = q.cluster.storage;
  const double node = given_or(s.node_read_gb_s, s.read_gb_s) * static_cast<double>(q.evaluator_nodes);
  return bytes / (std::min(node, std::max(s.read_gb_s, s.node_read_gb_s)) * 1e9);
}

std::int64_t interval_or(std::int64_t every, std::int64_t otherwise) {
  return every > 0 ? std::min(every, otherwise) : otherwise;
}

// Steps between states that are kept for good; all of the run where there are none.
std::int64_t anchor_steps(const ProofQuestion& q) {
  if (q.checkpoint_every == 0 || q.anchor_every == 0) return q.steps;
  return std::min(q.steps, std::lcm(q.checkpoint_every, q.anchor_every));
}

DrawBill draw_bill(const ProofQuestion& q, const ProofBill& bill, std::int64_t drawn) {
  DrawBill d{.drawn = drawn, .replays = std::min(drawn + kDrawnAlways, ceil_div(q.steps, bill.segment_steps))};
  const auto states = static_cast<double>(d.replays);
  const auto gaps = std::max(1.0, static_cast<double>(q.steps) / static_cast<double>(bill.anchor_steps));
  // The moves are taken as if they were drawn evenly. The early step and the last one lie in intervals of their own.
  const std::int64_t early = std::min(std::max<std::int64_t>(1, ceil_div(q.steps, 100)), bill.anchor_steps);
  const std::int64_t last = interval_or(q.checkpoint_every, bill.anchor_steps);
  d.owner_steps = expected_steps_from_anchors(q.steps, bill.anchor_steps, std::min(drawn + 3, q.steps)) +
                  static_cast<double>(early - 1) / 2 + static_cast<double>((q.steps - 1) % last);
  d.owner_steps = std::min(d.owner_steps, static_cast<double>(q.steps));
  const double touched = gaps * (1 - std::pow(1 - 1 / gaps, static_cast<double>(drawn + 3))) + 2;
  d.opened_bytes = states * q.state.state_bytes;
  const double owner_s = d.owner_steps * q.step_s * (1 + bill.step_share) +
                         touched * q.state.state_bytes / (q.cluster.storage.read_gb_s * 1e9) +
                         d.opened_bytes / (q.cluster.storage.write_gb_s * 1e9);
  d.owner_hours = owner_s / 3600;
  if (q.evaluator_step_s > 0) d.evaluator_hours = states * bill.segment_s() / 3600;
  return d;
}

}  // namespace

double link_bytes_s(const Cluster& cluster) {
  return given_or(cluster.host.link_gb_s, kLinkGbS) * 1e9;
}

double digest_bytes_s(const Cluster& c) {
  const bool on_host = c.device.kind == "cpu";
  const double cores =
      given_or(c.host.cores_per_device, on_host ? static_cast<double>(c.device.processors) : kCoresPerDevice);
  return cores * given_or(c.host.digest_gb_s, kDigestGbS) * 1e9;
}

RootSeconds root_seconds(const StateSpread& state, const Cluster& cluster, const ImplementationProfile& profile) {
  const bool on_host = cluster.device.kind == "cpu";
  const double leaves_bytes = state.leaves * kLeafBytes;
  RootSeconds root;
  root.copy = on_host ? 0 : state.busiest_bytes / link_bytes_s(cluster);
  root.hash = state.busiest_bytes / digest_bytes_s(cluster);
  const auto ranks = static_cast<double>(state.ranks);
  if (state.ranks > 1) {
    const NetworkCost network(cluster, profile);
    const DeviceGroup all{.size = state.ranks, .stride = 1};
    const double pieces = std::ceil(state.leaves / kLeavesAtOnce);
    root.exchange = pieces * network.all_reduce_s(all, leaves_bytes / pieces) +
                    network.all_reduce_s(all, ranks * kRootBytes) + leaves_bytes * kPasses / kPassGbS * 1e-9;
  }
  // A rank's block is a power of two.
  const double block = std::exp2(std::ceil(std::log2(std::max(1.0, state.leaves / ranks))));
  root.fold = (block + (state.ranks > 1 ? std::ceil(state.leaves / block) : 0)) * kNode_s;
  return root;
}

double expected_steps_from_anchors(std::int64_t steps, std::int64_t interval, std::int64_t drawn) {
  // Each interval trains up to its furthest draw: the sum over offsets of the chance that some draw lies at it or
  // behind.
  const auto all = static_cast<double>(steps);
  double sum = 0;
  for (std::int64_t offset = 1; offset < interval; ++offset) {
    sum += 1 - std::pow(1 - static_cast<double>(interval - offset) / all, static_cast<double>(drawn));
  }
  return sum * all / static_cast<double>(interval);
}

ProofBill proof_bill(const ProofQuestion& q) {
  if (q.steps < 1 || !(q.step_s > 0)) {
    throw Error("a run has steps that take time")
        .values("1 or more", fmt::format("{} steps of {:g} s", q.steps, q.step_s))
        .at("[run] steps");
  }
  ProofBill bill;
  bill.segment_steps = interval_or(q.root_every, interval_or(q.checkpoint_every, q.steps));
  bill.root = root_seconds(q.state, q.cluster, q.profile);
  bill.records_s = kRecord_s + q.batch_bytes / digest_bytes_s(q.cluster);
  bill.step_share = (bill.root.total() / static_cast<double>(bill.segment_steps) + bill.records_s) / q.step_s;
  bill.anchor_steps = anchor_steps(q);
  if (q.checkpoint_every > 0 && q.anchor_every > 0)
    bill.anchors = q.steps / std::lcm(q.checkpoint_every, q.anchor_every);
  bill.anchor_bytes = static_cast<double>(bill.anchors) * q.state.state_bytes;
  bill.ledger_bytes =
      static_cast<double>(q.steps) * (kRecordBytes + kRootTextBytes / static_cast<double>(bill.segment_steps));
  if (q.evaluator_step_s > 0) {
    // One rank checks all states before any replay: it reads them, hashes files and arrays, and reads the weights
    // again.
    const double bytes = q.state.state_bytes;
    bill.check_s = node_read_s(q, bytes + bytes / 3) + 2 * bytes / digest_bytes_s(q.cluster);
    const double node_ranks = static_cast<double>(q.evaluator_state.ranks);
    bill.load_s = node_read_s(q, q.state.state_bytes);
    bill.hash_s = q.state.state_bytes / (node_ranks * digest_bytes_s(q.cluster)) +
                  2 * root_seconds(q.evaluator_state, q.cluster, q.profile).total();
    bill.replay_s = static_cast<double>(bill.segment_steps) * q.evaluator_step_s;
  }
  for (const std::int64_t drawn : q.drawn) bill.draws.push_back(draw_bill(q, bill, std::min(drawn, q.steps)));
  return bill;
}

}  // namespace baekji
