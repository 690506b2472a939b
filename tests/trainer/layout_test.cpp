// The law: the layout changes no bit. Steps of one experiment over data and tensor ranks (as threads) against one rank.

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>

#include "core/file_system.h"
#include "parallel/communicator_threads.h"
#include "proof/genesis.h"
#include "tests/parallel/late_communicator.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/engine.h"
#include "trainer/run_inputs.h"

namespace baekji {
namespace {

// What every rank must agree on with a lone one.
struct History {
  std::vector<std::string> roots;
  std::vector<double> losses;
  std::vector<double> norms;
  std::vector<double> moves;
  std::vector<std::string> batch_roots;
  std::vector<std::string> void_parameters;
  std::map<std::string, double> weight_norms;
  bool operator==(const History&) const = default;
};

using Overrides = std::vector<std::string>;

// One element of the state at step 0, made so that gradients become unusable.
struct Poison {
  std::string tensor;      ///< empty: none
  std::int64_t index = 0;  ///< in the logical tensor
  float value = 0;
};

void poison(std::span<const StateShard> shards, const Poison& bad) {
  for (const StateShard& shard : shards) {
    if (shard.tensor->name != bad.tensor) continue;
    for (std::int64_t i = 0; i < shard.count; ++i) {
      if (shard.tensor->logical_index(shard.slice, i) == bad.index) shard.values[0][i] = bad.value;
    }
  }
}

Experiment experiment_of(Overrides overrides, const Overrides& layout = {}) {
  overrides.insert(overrides.end(),
                   {"model.layers=4", "numerics.replicas=4", "numerics.tensor_grains=4", "numerics.micro_batch=1"});
  for (const std::string& key : layout) overrides.push_back("layout." + key);
  return tiny::load("unused", overrides);
}

History steps_of(const Experiment& e, int threads, Communicator& world, const Poison& bad = {}) {
  const Loader loader = open_inputs(e).loader;
  ThreadPool pool(threads);
  const auto kernels = make_cpu_kernels(pool);
  RankGroups ranks(e.layout.mesh(), world);
  Engine engine(e, loader, *kernels, ranks);
  fill_genesis(engine.shards(), static_cast<std::uint64_t>(e.identity.seed), pool);
  if (!bad.tensor.empty()) poison(engine.shards(), bad);
  engine.state_changed();
  History history;
  std::int64_t updates = 0;
  for (std::int64_t step = 1; step <= 4; ++step) {
    const StepResult result = engine.step(step, updates + 1);
    if (!result.outcome.is_void) ++updates;
    history.losses.push_back(result.loss);
    history.norms.push_back(result.outcome.gradient_norm);
    history.moves.push_back(result.outcome.move);
    history.batch_roots.push_back(to_hex(result.batch_root));
    EXPECT_EQ(history.batch_roots.back(), to_hex(loader.batch_root(step)));
    history.void_parameters.push_back(result.outcome.void_parameter);
    history.roots.push_back(to_hex(engine.state_root(pool)));
  }
  history.losses.push_back(engine.evaluate(4, 0, 3));
  history.weight_norms = engine.weight_norms();
  return history;
}

History one_rank(const Overrides& overrides, int threads = 1) {
  const auto self = make_self_communicator();
  return steps_of(experiment_of(overrides), threads, *self);
}

// Every axis, schedule, division and way to recompute, over 1 to 8 ranks.
const std::vector<Overrides> kLayouts{
    {"recompute='selective'"},
    {"recompute='full'"},
    {"data=2"},
    {"data=3"},
    {"data=4", "zero=1"},
    {"data=2", "zero=2"},
    {"data=3", "zero=2", "recompute='selective'"},
    {"data=2", "zero=3"},
    {"data=3", "zero=3", "tensor=2"},
    {"tensor=2"},
    {"tensor=4", "recompute='selective'"},
    {"data=2", "tensor=2"},
    {"data=3", "tensor=2", "zero=1"},
    {"data=2", "tensor=4"},
    {"pipeline=2"},
    {"pipeline=3", "recompute='full'"},
    {"pipeline=4"},
    {"pipeline=2", "layers_per_stage=[1, 3]"},
    {"pipeline=2", "virtual_stages=2", "schedule='interleaved'"},
    {"pipeline=2", "virtual_stages=2", "schedule='interleaved'", "data=2", "zero=2"},
    {"pipeline=2", "schedule='zb-h1'"},
    {"pipeline=4", "schedule='zb-h1'", "data=2", "zero=1"},
    {"pipeline=2", "data=2", "tensor=2"},
    {"pipeline=2", "data=3", "zero=2", "schedule='zb-h1'"},
    {"pipeline=2", "tensor=2", "data=2", "zero=2", "recompute='selective'"},
    {"pipeline=4", "tensor=2", "schedule='zb-h1'"},
};

// 8 bits: weights and slices of activations have a scale for each slice, gathered ones one for the micro-batch, so what
// matters is who holds which slices and tokens, and what is computed again or later.
const Overrides kFloat8{"numerics.precision='fp8'", "model.hidden=64", "model.ffn=128"};
const std::vector<Overrides> kFloat8Layouts{
    {"recompute='selective'"},
    {"recompute='full'"},
    {"data=3"},
    {"data=3", "zero=3", "tensor=2"},
    {"data=2", "zero=3", "recompute='full'"},
    {"tensor=2"},
    {"tensor=4", "recompute='selective'"},
    {"pipeline=2"},
    {"pipeline=2", "virtual_stages=2", "schedule='interleaved'", "data=2", "zero=2"},
    {"pipeline=2", "schedule='zb-h1'"},
    {"pipeline=2", "data=3", "zero=2", "schedule='zb-h1'"},
    {"pipeline=4", "tensor=2", "schedule='zb-h1'"},
};

void expect_layout_agrees(const Experiment& experiment, const std::string& layout, const History& alone) {
  run_as_ranks(narrow<int>(experiment.layout.mesh().size()), [&](Communicator& world) {
    const int threads = 1 + world.rank() % 3;
    if (steps_of(experiment, threads, world) != alone) throw Error("another history than one rank's").at(layout);
  });
}

void expect_layouts_agree(const Overrides& overrides, const std::vector<Overrides>& layouts = kLayouts) {
  const History alone = one_rank(overrides, 2);
  EXPECT_EQ(alone.roots.size(), 4U);
  EXPECT_NE(alone.roots[0], alone.roots[3]);
  for (const Overrides& layout : layouts) {
    const std::string name = fmt::format("{}", fmt::join(layout, " "));
    EXPECT_NO_THROW(expect_layout_agrees(experiment_of(overrides, layout), name, alone)) << name;
  }
  std::printf("%s: %zu layouts of 1 to 8 ranks give the roots of one rank over 4 steps, the last one %.16s\n",
              fmt::format("{}", fmt::join(overrides, " ")).c_str(), layouts.size(), alone.roots.back().c_str());
}

TEST(Layout, EveryLayoutGivesTheRootOfOneRankInFp32) {
  expect_layouts_agree({"numerics.precision='fp32'"});
}

TEST(Layout, EveryLayoutGivesTheRootOfOneRankWithATiedEmbedding) {
  expect_layouts_agree({"numerics.precision='bf16'", "model.tied_embeddings=true"});
}

TEST(Layout, EveryLayoutGivesTheRootOfOneRankWithOutputNorms) {
  expect_layouts_agree({"numerics.precision='bf16'", "model.output_norms=true", "numerics.residual='fp32'"});
}

TEST(Layout, EveryLayoutGivesTheRootOfOneRankInFp8) {
  expect_layouts_agree(kFloat8, kFloat8Layouts);
  Overrides wide = kFloat8;
  wide.insert(wide.end(), {"model.tied_embeddings=true", "model.output_norms=true", "numerics.residual='fp32'"});
  expect_layouts_agree(wide, {{"tensor=2", "data=2"}, {"pipeline=2", "schedule='zb-h1'"}});
  EXPECT_NE(one_rank(kFloat8).roots, one_rank({"numerics.precision='bf16'", kFloat8[1], kFloat8[2]}).roots);
}

void expect_one_verdict(const Overrides& overrides, std::initializer_list<Poison> poisons) {
  const Experiment experiment = experiment_of(overrides);
  for (const Poison& bad : poisons) {
    const auto self = make_self_communicator();
    const History alone = steps_of(experiment, 1, *self, bad);
    const auto named = [](const std::string& name) { return !name.empty(); };
    const auto voids = std::count_if(alone.void_parameters.begin(), alone.void_parameters.end(), named);
    EXPECT_GT(voids, 0) << bad.tensor << " " << bad.value;
    for (const Overrides& layout : {Overrides{"data=3"}, Overrides{"tensor=4"}, Overrides{"data=4", "tensor=2"},
                                    Overrides{"pipeline=2", "data=3", "zero=2"}, Overrides{"pipeline=4", "data=2"}}) {
      const Experiment other = experiment_of(overrides, layout);
      run_as_ranks(narrow<int>(other.layout.mesh().size()), [&](Communicator& world) {
        const History here = steps_of(other, 1, world, bad);
        if (here.void_parameters == alone.void_parameters && here.roots == alone.roots) return;
        throw Error("another verdict than one rank's")
            .values(fmt::format("{}", fmt::join(alone.void_parameters, ", ")),
                    fmt::format("{}", fmt::join(here.void_parameters, ", ")))
            .at(other.layout.mesh().describe());
      });
    }
    const auto first = std::find_if(alone.void_parameters.begin(), alone.void_parameters.end(), named);
    std::printf("%g in %s: %td of 4 steps void, the first one for %s, in every layout\n",
                static_cast<double>(bad.value), bad.tensor.c_str(), voids, first->c_str());
  }
}

// A token that stands in some sequences: not a number in their replicas alone.
Poison bad_token(const Overrides& overrides, float value) {
  return {"embedding", 300 * experiment_of(overrides).model.hidden, value};
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Layout, AnUnusableGradientVoidsTheSameStepsEverywhere) {
  const Overrides fp32{"numerics.precision='fp32'"};
  // A huge gain: finite sums out of range.
  expect_one_verdict(fp32, {bad_token(fp32, kNan), bad_token(fp32, kInfinity), Poison{"final_norm", 3, 1e7F}});
}

// One value that is not finite makes a whole 8-bit copy so: it may not depend on the layout which one. A gain beyond
// what bf16 holds after its product overflows in the activations; a weight makes its slice's copy NaN.
TEST(Layout, AnUnusableActivationVoidsTheSameStepsEverywhereInFp8) {
  expect_one_verdict(
      kFloat8, {bad_token(kFloat8, kNan), bad_token(kFloat8, kInfinity), Poison{"layers.1.feed_forward.norm", 5, 3e38F},
                Poison{"layers.2.attention.output", 70, kNan}, Poison{"final_norm", 3, 1e7F}});
}

TEST(Layout, FewerReplicasThanDataRanksIsRefused) {
  EXPECT_THROW(replicas_of(2, {.data = 3}, {}), Error);
  const ReplicaRange last = replicas_of(4, {.data = 3}, {.data = 2});
  EXPECT_EQ(last.first, 2);
  EXPECT_EQ(last.count, 2);
}

TEST(Layout, MoreRanksThanTheMeshHasPlacesIsRefused) {
  try {
    run_as_ranks(2, [](Communicator& world) { RankGroups(Mesh{.data = 3}, world); });
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("the mesh does not match the number of ranks"));
  }
}

TEST(Layout, RanksThatDisagreeSaySoBeforeTheyBegin) {
  const auto error_of = [](const std::string& key, const std::string& other) {
    const tiny::fs::path run = tiny::fresh_folder("disagreement");
    std::vector<Experiment> experiments{tiny::load(run, {"layout.data=2"}),
                                        tiny::load(run, {"layout.data=2", key + other})};
    try {
      run_as_ranks(2,
                   [&](Communicator& world) { train(experiments[static_cast<std::size_t>(world.rank())], {}, world); });
    } catch (const Error& error) {
      EXPECT_FALSE(tiny::fs::exists(run / "ledger.jsonl"));
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(error_of("experiment.seed=", "77"),
              testing::AllOf(testing::HasSubstr("do not agree on the experiment file"),
                             testing::HasSubstr("rank 0: [experiment] seed = 5"),
                             testing::HasSubstr("rank 1: [experiment] seed = 77")));
  EXPECT_THAT(error_of("run.steps=", "99"), testing::AllOf(testing::HasSubstr("rank 0: [run] steps = 6"),
                                                           testing::HasSubstr("rank 1: [run] steps = 99")));
}

// Several buckets in a stage: some leave while the stage's other blocks still go backward.
const Overrides kSeveralBuckets{"model.hidden=512", "model.ffn=768", "model.context=16", "numerics.precision='bf16'"};

struct LateCase {
  Overrides layout;
  std::size_t under_way = 0;  ///< at least so many calls of a group at once
};

void expect_late_calls_agree(const Overrides& overrides, const std::vector<LateCase>& cases) {
  const History alone = one_rank(overrides, 2);
  for (const LateCase& c : cases) {
    const std::string name = fmt::format("{}", fmt::join(c.layout, " "));
    const Experiment experiment = experiment_of(overrides, c.layout);
    std::vector<std::size_t> under_way(static_cast<std::size_t>(experiment.layout.mesh().size()));
    const auto rank = [&](Communicator& world) {
      LateCommunicator late(world, &under_way[static_cast<std::size_t>(world.rank())]);
      if (steps_of(experiment, 1, late) != alone) throw Error("another history than one rank's").at(name);
    };
    EXPECT_NO_THROW(run_as_ranks(narrow<int>(experiment.layout.mesh().size()), rank)) << name;
    EXPECT_GE(*std::min_element(under_way.begin(), under_way.end()), c.under_way) << name;
    std::printf("%s: up to %zu calls of a group under way at once, the roots of one rank\n", name.c_str(),
                *std::max_element(under_way.begin(), under_way.end()));
  }
}

TEST(Layout, CallsThatEndAsLateAsTheyMayChangeNoBit) {
  expect_late_calls_agree({"numerics.precision='bf16'"}, {{{"data=2", "zero=0"}, 10},
                                                          {{"data=3", "tensor=2", "zero=1"}, 2},
                                                          {{"data=3", "zero=3", "recompute='full'"}, 2},
                                                          {{"data=2", "pipeline=4", "schedule='zb-h1'", "zero=2"}, 2}});
}

TEST(Layout, LateCallsChangeNoBitOverSeveralBuckets) {
  expect_late_calls_agree(kSeveralBuckets, {{{"data=2", "zero=1"}, 4},
                                            {{"data=3", "zero=2"}, 4},
                                            {{"data=3", "pipeline=2", "schedule='zb-h1'", "zero=1"}, 2}});
  Overrides tied = kSeveralBuckets;
  tied.push_back("model.tied_embeddings=true");
  expect_late_calls_agree(tied,
                          {{{"data=3", "tensor=2", "zero=1"}, 3},
                           {{"data=2", "pipeline=2", "virtual_stages=2", "schedule='interleaved'", "zero=2"}, 2}});
}

TEST(Layout, ANegativeControlChangesTheRoot) {
  EXPECT_NE(one_rank({"numerics.precision='fp32'", "numerics.loss_chunk=16"}).roots,
            one_rank({"numerics.precision='fp32'", "experiment.seed=6"}).roots);
}

}  // namespace
}  // namespace baekji
