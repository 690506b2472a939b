// Peers' memory against what they printed (published_memory.csv, each row with its source): docs/planner.md has what
// this prints. Ours is the trainer's own plan, which other tests hold against what runs take.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "plan/cluster.h"
#include "plan/peer_memory.h"
#include "tests/plan/published_rows.h"

namespace baekji {
namespace {

using published::Cells;

constexpr double kGb = 1e9;

// Empty, or why the row cannot be compared.
std::string memory_rule_against(const Cells& row) {
  if (row.at("what").find("percent") != std::string::npos) return "a ratio, not bytes";
  for (const char* key : {"layers", "heads", "seq", "gpus", "micro_batch", "pp"}) {
    if (row.at(key).empty()) return fmt::format("no {} is printed", key);
  }
  if (row.at("source").starts_with("torchtitan") && row.at("recompute").empty()) return "no recomputation is printed";
  return {};
}

struct PrintedMemory {
  std::string profile;
  Workload workload;
  double unit = kBytesPerGib;
};

PrintedMemory printed_memory(const Cells& row) {
  const std::string& source = row.at("source");
  const bool bloom = source.starts_with("BigScience");
  const bool korthikanti = source.starts_with("Korthikanti");
  PrintedMemory m;
  m.profile = bloom || korthikanti ? "megatron-2021" : source.starts_with("torchtitan") ? "fsdp" : "megatron";
  m.workload = published::workload_of(row, m.profile);
  // BLOOM's trainer is DeepSpeed's zero 1; the table's other Megatron rows divide nothing, or all of the optimizer.
  if (bloom) m.workload.layout.zero = 1;
  // nvidia-smi's MiB, printed as GB: taken as 10^9 bytes.
  if (bloom) m.unit = kGb;
  return m;
}

ImplementationProfile profile_for(const Cells& row, const PrintedMemory& m) {
  ImplementationProfile profile = implementation_profile(m.profile);
  profile.splits_tokens = profile.splits_tokens || row.at("sp") == "on";
  // Sums in fp32 beside gradients in bf16.
  if (row.at("precision").find("fp32 grad accum") != std::string::npos) profile.memory.gradient_bytes = 2 + 4;
  return profile;
}

double forecast_bytes(const Cells& row, const PrintedMemory& m) {
  const ImplementationProfile profile = profile_for(row, m);
  const PeerMemory first = peer_memory(m.workload, profile, 0);
  if (row.at("what").starts_with("parameters")) return first.states;
  if (row.at("what").starts_with("activations")) return first.saved;
  const PeerMemory last = peer_memory(m.workload, profile, m.workload.layout.pipeline - 1);
  return std::max(first.total(), last.total());
}

TEST(PublishedMemory, PeersHoldWhatTheyPrinted) {
  std::map<std::string, std::vector<double>> errors;
  std::map<std::string, int> left_out;
  std::vector<double> all;
  for (const Cells& row : published::read_rows("published_memory.csv")) {
    const std::string rule = memory_rule_against(row);
    if (!rule.empty()) {
      ++left_out[row.at("source") + ": " + rule];
      continue;
    }
    const PrintedMemory m = printed_memory(row);
    const double error = forecast_bytes(row, m) / m.unit / std::stod(row.at("mem_gib")) - 1;
    errors[row.at("source")].push_back(error);
    all.push_back(std::abs(error));
    if (std::abs(error) > 0.15) fmt::print("far off: {} {} {:+.0f}%\n", row.at("id"), row.at("model"), 100 * error);
  }
  for (auto& [source, values] : errors) {
    std::vector<double> sizes;
    double sum = 0;
    for (const double error : values) {
      sizes.push_back(std::abs(error));
      sum += error;
    }
    fmt::print("{:<45} {:>3} rows, median error {:.1f}%, mean {:+.1f}%\n", source, values.size(),
               100 * published::median(sizes), 100 * sum / static_cast<double>(values.size()));
  }
  for (const auto& [why, rows] : left_out) fmt::print("left out {:>3} rows, {}\n", rows, why);
  fmt::print("{} rows, median error {:.1f}%\n", all.size(), 100 * published::median(all));
  EXPECT_GE(all.size(), 55U);
  EXPECT_LE(published::median(all), 0.05);
}

TEST(PeerMemory, DividesWhatZeroDivides) {
  Workload w;
  w.model = {
      .layers = 32, .hidden = 4096, .heads = 32, .kv_heads = 32, .head_width = 128, .ffn = 11008, .vocab = 32000};
  w.layout.data = 64;
  w.global_batch = 64;
  w.sequence = 2048;
  const ImplementationProfile& profile = implementation_profile("megatron");
  const double parameters = w.model.parameters();
  const auto per_parameter = [&](std::int64_t zero) {
    w.layout.zero = zero;
    return peer_memory(w, profile, 0).states / parameters;
  };
  // Rajbhandari et al. 2020, figure 1: 2 + 2 + 12 bytes, of which 12, 14 and 16 are divided; fp32 sums without.
  EXPECT_NEAR(per_parameter(0), 2 + 4 + 12, 1e-9);
  EXPECT_NEAR(per_parameter(1), 2 + 2 + 12.0 / 64, 1e-9);
  EXPECT_NEAR(per_parameter(2), 2 + 14.0 / 64, 1e-9);
  EXPECT_NEAR(per_parameter(3), 16.0 / 64, 1e-9);
}

}  // namespace
}  // namespace baekji
