#include "plan/search.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"

namespace baekji {
namespace {

Cluster b200() {
  return load_cluster(std::filesystem::path(BAEKJI_SOURCE_DIR) / "configs/clusters/b200-4096.toml");
}

Workload large() {
  Workload w;
  w.model = {.layers = 80,
             .hidden = 8192,
             .heads = 64,
             .kv_heads = 8,
             .head_width = 128,
             .ffn = 29568,
             .gate = 2,
             .vocab = 152064};
  w.sequence = 8192;
  w.micro_batch = 1;
  w.global_batch = 2048;
  w.replicas = 512;
  return w;
}

// As if a rank held its state and nothing else.
double state_alone(const Candidate& c) {
  return bytes_at_least(c.workload);
}

TEST(Search, EveryLayoutIsLawfulAndTheFastestComesFirst) {
  const Cluster cluster = b200();
  const Workload w = large();
  const SearchSpace space{.devices = 4096, .most_tensor = 8, .wanted = 20, .room_bytes = 180e9};
  const SearchResult result = search_layouts({w, cluster, implementation_profile("baekji")}, space, state_alone);
  ASSERT_EQ(result.best.size(), 20U);
  double before = 0;
  std::int64_t refused = 0;
  for (const Candidate& c : result.best) {
    const ParallelLayout& l = c.workload.layout;
    EXPECT_EQ(l.devices(), 4096);
    EXPECT_LE(l.data, w.replicas);
    EXPECT_EQ(c.workload.slices * l.tensor, 8);
    EXPECT_FALSE(c.other_contract);
    EXPECT_GE(c.forecast.step_s, before);
    before = c.forecast.step_s;
  }
  for (const auto& [reason, count] : result.refused) refused += count;
  EXPECT_EQ(refused + 20, result.tried) << "each is shown or has its reason";
  fmt::print("{} layouts, the best takes {:.3f} s\n", result.tried, result.best.front().forecast.step_s);
}

TEST(Search, FreeNumericsAreMarked) {
  const Cluster cluster = b200();
  Workload w = large();
  w.global_batch = 64;
  w.replicas = 16;
  const SearchSpace space{
      .devices = 64, .most_tensor = 8, .free_numerics = true, .wanted = 1000000, .room_bytes = 180e9};
  const SearchResult result = search_layouts({w, cluster, implementation_profile("baekji")}, space, state_alone);
  std::int64_t marked = 0;
  for (const Candidate& c : result.best) {
    const bool same = c.tensor_grains == 8 && c.workload.micro_batch == 1 && c.workload.replicas == 16;
    EXPECT_EQ(c.other_contract, !same);
    if (c.other_contract) ++marked;
  }
  EXPECT_GT(marked, 0);
  EXPECT_LT(marked, static_cast<std::int64_t>(result.best.size()));
  fmt::print("{} of {} layouts are another contract's\n", marked, result.best.size());
}

TEST(Search, WhatFitsNowhereNamesTheNearest) {
  const Cluster cluster = b200();
  Workload w = large();
  const SearchSpace space{.devices = 64, .most_tensor = 8, .room_bytes = 50e9};
  w.global_batch = 128;
  w.replicas = 64;
  const SearchResult result = search_layouts({w, cluster, implementation_profile("baekji")}, space,
                                             [](const Candidate& c) { return bytes_at_least(c.workload) + 40e9; });
  EXPECT_TRUE(result.best.empty());
  EXPECT_GT(result.nearest.memory_bytes, space.room_bytes);
  fmt::print("nearest: {:.1f} of {:.1f} GB\n", result.nearest.memory_bytes * 1e-9, space.room_bytes * 1e-9);
}

TEST(StageLayers, AreDealtOutEvenly) {
  Workload w = large();
  w.layout.pipeline = 8;
  EXPECT_EQ(stage_layers(w), std::vector<std::int64_t>(8, 10));
  w.model.layers = 126;
  w.layout.virtual_stages = 8;
  const std::vector<std::int64_t> ends = stage_layers(w);
  EXPECT_EQ(ends.front(), 1);
  EXPECT_EQ(ends.back(), 1);
  EXPECT_EQ(ends[1], 2);
  w.model.layers = 7;
  EXPECT_THROW(stage_layers(w), Error);
}

// Long schedules are priced by two short plays.
TEST(StepForecast, ALongScheduleTakesWhatItsPlayTakes) {
  for (const char* schedule : {"1f1b", "zb-h1", "interleaved"}) {
    Workload w = large();
    w.layout = {.data = 1, .pipeline = 4, .schedule = schedule};
    if (w.layout.schedule == "interleaved") w.layout.virtual_stages = 2;
    w.micro_batch = 1;
    w.global_batch = 128;
    const Cluster c = b200();
    const StepQuestion question{w, c, implementation_profile("baekji")};
    double passes_s = 0;
    for (const NamedSeconds& part : forecast_step(question).parts) {
      const bool once = part.name == "gradient sums" || part.name == "weights" || part.name == "optimizer" ||
                        part.name == "data" || part.name == "step";
      if (!once) passes_s += part.seconds;
    }
    const double played_s = step_timeline(question).simulation.length;
    EXPECT_NEAR(passes_s, played_s, 1e-3 * played_s) << schedule;
    fmt::print("{}: {:.4f} s priced, {:.4f} s played\n", schedule, passes_s, played_s);
  }
}

TEST(StepForecast, PartsAddUpAndMoreBandwidthIsNoSlower) {
  Cluster cluster = b200();
  Workload w = large();
  w.layout = {.tensor = 8, .data = 128, .pipeline = 4, .virtual_stages = 5, .schedule = "interleaved", .zero = 1};
  const StepForecast f = forecast_step({w, cluster, implementation_profile("baekji")});
  double sum = 0;
  for (const NamedSeconds& part : f.parts) {
    EXPECT_GE(part.seconds, -1e-9) << part.name;
    sum += part.seconds;
  }
  EXPECT_NEAR(sum, f.step_s, 1e-9);
  EXPECT_NEAR(f.tokens_per_s_per_device, 2048.0 * 8192 / f.step_s / 4096, 1e-6);
  cluster.network.network_gb_s *= 2;
  cluster.device.memory_gb_s *= 2;
  EXPECT_LT(forecast_step({w, cluster, implementation_profile("baekji")}).step_s, f.step_s);
  w.precision = Precision::kFloat8;
  EXPECT_LT(forecast_step({w, cluster, implementation_profile("baekji")}).step_s, f.step_s);
  EXPECT_THROW(implementation_profile("megatronn"), Error);
  cluster.device.fp4_matmul_tflops = 0;
  w.precision = Precision::kFloat4;
  EXPECT_THROW(forecast_step({w, cluster, implementation_profile("baekji")}), Error);
}

}  // namespace
}  // namespace baekji
