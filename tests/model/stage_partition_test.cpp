#include "model/stage_partition.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "model/parameters.h"

namespace baekji {
namespace {

std::vector<std::int64_t> layers_of(const std::vector<StageRange>& ranges) {
  std::vector<std::int64_t> layers;
  for (const StageRange& range : ranges) layers.push_back(range.layers);
  return layers;
}

ModelConfig large() {
  return {.layers = 80, .hidden = 8192, .heads = 64, .kv_heads = 8, .ffn = 29568, .vocab = 128256, .context = 4096};
}

// The cost of the costliest stage over all ways to cut, by trying: no way to cut is cheaper than the one chosen.
double cheapest_possible(const ModelConfig& model, std::int64_t stages, std::int64_t first, std::int64_t left) {
  const StageRange last{.first_layer = first, .layers = model.layers - first, .embedding = first == 0};
  if (left == 1) return stage_cost(model, last);
  double best = 1e300;
  for (std::int64_t count = 1; first + count <= model.layers - (left - 1); ++count) {
    const StageRange here{.layers = count, .embedding = first == 0, .head = false};
    best = std::min(best, std::max(stage_cost(model, here), cheapest_possible(model, stages, first + count, left - 1)));
  }
  return best;
}

TEST(StagePartition, TheHeadIsCountedAndNoCutIsCheaper) {
  ModelConfig model = large();
  int checked = 0;
  for (const std::int64_t vocab : {1000, 128256, 1000000}) {
    for (const std::int64_t layers : {4, 7, 12}) {
      for (std::int64_t stages = 1; stages <= 4; ++stages) {
        model.vocab = vocab;
        model.layers = layers;
        double costliest = 0;
        const auto ranges = partition_layers(model, stages, {}, "test");
        for (const StageRange& range : ranges) costliest = std::max(costliest, stage_cost(model, range));
        EXPECT_DOUBLE_EQ(costliest, cheapest_possible(model, stages, 0, stages))
            << vocab << " " << layers << " " << stages;
        ++checked;
      }
    }
  }
  EXPECT_EQ(layers_of(partition_layers(large(), 4, {}, "test")), (std::vector<std::int64_t>{20, 20, 21, 19}));
  std::printf("%d partitions: none could be cheaper\n", checked);
}

TEST(StagePartition, StagesAreWholeAndInOrder) {
  for (std::int64_t stages = 1; stages <= 16; ++stages) {
    const auto ranges = partition_layers(large(), stages, {}, "test");
    std::int64_t next = 0;
    for (const StageRange& range : ranges) {
      EXPECT_EQ(range.first_layer, next);
      EXPECT_EQ(range.embedding, next == 0);
      next += range.layers;
      EXPECT_EQ(range.head, next == 80);
    }
    EXPECT_EQ(next, 80);
  }
}

TEST(StagePartition, GivenLayersAreTakenOrRefused) {
  ModelConfig model = large();
  model.layers = 6;
  EXPECT_EQ(layers_of(partition_layers(model, 2, std::vector<std::int64_t>{1, 5}, "test")),
            (std::vector<std::int64_t>{1, 5}));
  const auto refusal = [&](std::int64_t stages, const std::vector<std::int64_t>& layers) -> std::string {
    try {
      partition_layers(model, stages, layers, "x.toml [layout]");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal(2, {2, 5}), testing::HasSubstr("add up to 6 layers"));
  EXPECT_THAT(refusal(2, {0, 6}), testing::HasSubstr("positive"));
  EXPECT_THAT(refusal(2, {2, 2, 2}), testing::HasSubstr("2 positive numbers"));
  EXPECT_THAT(refusal(7, {}), testing::HasSubstr("every pipeline stage needs a layer"));
}

TEST(StagePartition, EveryGroupIsHeldOnceAndATiedTableTwice) {
  for (const bool tied : {false, true}) {
    ModelConfig model = large();
    model.layers = 6;
    model.tied_embeddings = tied;
    const ModelParameters declared = declare_parameters(model, 4);
    for (std::int64_t stages = 1; stages <= 6; ++stages) {
      std::vector<int> held(declared.groups.size(), 0);
      std::int64_t table_sums = 0;
      for (const StageRange& range : partition_layers(model, stages, {}, "test")) {
        for (const HeldGroup& group : held_groups(declared, std::span(&range, 1))) {
          ++held[group.id];
          EXPECT_EQ(group.tied, tied && stages > 1 && group.id == declared.embedding);
          if (group.id == declared.embedding) table_sums += group.contributions;
        }
      }
      EXPECT_EQ(table_sums, tied ? 2 : 1) << "each use sums once";
      for (GroupId id = 0; id < held.size(); ++id) {
        EXPECT_EQ(held[id], tied && stages > 1 && id == declared.embedding ? 2 : 1);
      }
    }
  }
}

}  // namespace
}  // namespace baekji
