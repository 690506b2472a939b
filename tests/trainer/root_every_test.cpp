// run.root_every = 1: every step's record names the state after it, and the layout decides none of these roots.

#include <gmock/gmock.h>

#include <fstream>

#include "parallel/communicator_threads.h"
#include "proof/genesis.h"
#include "proof/state_root.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/engine.h"
#include "trainer/run_inputs.h"

namespace baekji {
namespace {

using Overrides = std::vector<std::string>;

constexpr int kSteps = 6;

Experiment rooted_experiment(const std::string& run, Overrides overrides, const Overrides& layout) {
  overrides.insert(
      overrides.end(),
      {"model.layers=4", "numerics.replicas=4", "numerics.tensor_grains=4", "numerics.micro_batch=1",
       "numerics.precision='bf16'", fmt::format("run.steps={}", kSteps), "run.root_every=1", "run.checkpoint_every=4"});
  for (const std::string& key : layout) overrides.push_back("layout." + key);
  return tiny::load(tiny::fresh_folder(run), overrides);
}

void train_as_ranks(const Experiment& e) {
  run_as_ranks(narrow<int>(e.layout.mesh().size()), [&](Communicator& world) { train(e, {}, world); });
}

// The root of genesis and of each step's record; what has none is left out.
std::vector<std::string> recorded_roots(const std::filesystem::path& run) {
  std::vector<std::string> roots;
  std::ifstream file(run / "ledger.jsonl");
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json record = nlohmann::json::parse(line);
    if (record.at("kind") == "event" || !record.at("body").contains("state_root")) continue;
    roots.push_back(record["body"]["state_root"]);
  }
  return roots;
}

const std::vector<Overrides> kRootLayouts{
    {"data=2"},
    {"data=3"},
    {"data=4", "zero=1"},
    {"data=3", "zero=2", "recompute='selective'"},
    {"data=3", "zero=3", "tensor=2"},
    {"tensor=4"},
    {"pipeline=3", "recompute='full'"},
    {"pipeline=2", "virtual_stages=2", "schedule='interleaved'", "data=2", "zero=2"},
    {"pipeline=2", "data=3", "zero=2", "schedule='zb-h1'"},
    {"pipeline=2", "data=2", "tensor=2", "zero=1"},
};

void expect_one_history(const Overrides& overrides) {
  const Experiment alone = rooted_experiment("root_every_alone", overrides, {});
  train_as_ranks(alone);
  const std::vector<std::string> expected = recorded_roots(alone.output());
  ASSERT_EQ(expected.size(), 1U + kSteps);
  EXPECT_NE(expected.front(), expected.back());
  for (const Overrides& layout : kRootLayouts) {
    const Experiment e = rooted_experiment("root_every_other", overrides, layout);
    train_as_ranks(e);
    EXPECT_EQ(recorded_roots(e.output()), expected) << fmt::format("{}", fmt::join(layout, " "));
  }
  std::printf("%s: %zu layouts record the %d roots of one rank, the last one %.16s\n",
              fmt::format("{}", fmt::join(overrides, " ")).c_str(), kRootLayouts.size(), kSteps,
              expected.back().c_str());
}

TEST(RootEvery, EveryStepsRootIsOneRanksInEveryLayout) {
  expect_one_history({});
}

// A table at both ends of the pipeline has one rank that answers for it; saves in the calling thread take no snapshot.
TEST(RootEvery, EveryStepsRootIsOneRanksWithATiedEmbeddingAndSavesThatWait) {
  expect_one_history({"model.tied_embeddings=true", "run.async_save=false"});
}

// Ranks fold blocks of leaves; whoever has the whole state folds all of it.
TEST(RootEvery, BlocksOfLeavesGiveTheRootOfTheWholeState) {
  for (const int data : {1, 2, 3, 4}) {
    const Experiment e = rooted_experiment("unused", {}, {fmt::format("data={}", data)});
    run_as_ranks(data, [&](Communicator& world) {
      const Loader loader = open_inputs(e).loader;
      ThreadPool pool(1);
      const auto kernels = make_cpu_kernels(pool);
      RankGroups ranks(e.layout.mesh(), world);
      Engine engine(e, loader, *kernels, ranks);
      fill_genesis(engine.shards(), 5, pool);
      const std::string whole = to_hex(state_root(engine.shards(), pool));
      require_equal(whole, to_hex(engine.state_root(pool)), "another root", e.layout.mesh().describe());
      const std::vector<StateLeaf> hashed = state_leaves(engine.owned_shards(), pool);
      for (const std::int64_t at_once : {1, 7, 64}) {
        require_equal(whole, to_hex(global_state_root(hashed, engine.parameters(), world, at_once)),
                      "another root where leaves come in pieces", fmt::format("{} at once", at_once));
      }
      // What nobody answers for, and what two answer for, is named.
      std::vector<StateLeaf> less = hashed;
      if (!less.empty()) less.erase(less.begin() + 3);
      const auto refused = [&](std::span<const StateLeaf> leaves) {
        try {
          global_state_root(leaves, engine.parameters(), world, 64);
        } catch (const Error& error) {
          return std::string(error.what()).find("one rank must answer") != std::string::npos;
        }
        return false;
      };
      if (!refused(less)) throw Error("a missing leaf was not told").at(e.layout.mesh().describe());
      std::vector<StateLeaf> more = hashed;
      if (!more.empty()) more.push_back(more.front());
      if (!refused(more)) throw Error("a leaf that came twice was not told").at(e.layout.mesh().describe());
    });
  }
}

}  // namespace
}  // namespace baekji
