#include "proof/state_root.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "tests/proof/state_fixture.h"

namespace baekji {
namespace {

TEST(StateRoot, SameForAnyOwnersThreadsAndOrder) {
  Digest reference{};
  for (const std::int64_t owners : {1, 2, 5}) {
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      SampleState state(sample_tensors(2), owners);
      state.fill(1);
      std::vector<StateLeaf> leaves = state_leaves(state.shards(), pool);
      std::reverse(leaves.begin(), leaves.end());
      const Digest root = state_root(leaves);
      if (owners == 1 && threads == 1) reference = root;
      EXPECT_EQ(to_hex(reference), to_hex(root)) << owners << " owners, " << threads << " threads";
    }
  }
  std::printf("1, 2, 5 owners and 1, 2, 3 threads: root %.16s...\n", to_hex(reference).c_str());
}

TEST(StateRoot, EveryElementOfEveryArrayCounts) {
  ThreadPool pool(2);
  SampleState state(sample_tensors(2), 2);
  state.fill(1);
  const Digest before = state_root(state.shards(), pool);
  int changes = 0;
  for (const StateShard& s : state.shards()) {
    for (float* const values : s.values) {
      for (const std::int64_t i : {std::int64_t{0}, s.count - 1}) {
        const float kept = values[i];
        values[i] = kept == 0.0F ? -0.0F : -kept;  // one sign bit
        EXPECT_NE(before, state_root(state.shards(), pool)) << s.tensor->name << " " << i;
        values[i] = kept;
        ++changes;
      }
    }
  }
  EXPECT_EQ(before, state_root(state.shards(), pool));
  std::printf("%d single sign bits changed, every one changed the root\n", changes);
}

TEST(StateRoot, BindsNameShapeAndSlicing) {
  ThreadPool pool(1);
  std::vector<float> zeros(64, 0.0F);
  const auto root_of = [&](const LogicalTensor& tensor) {
    std::vector<StateShard> shards;
    for (std::int64_t slice = 0; slice < tensor.slices; ++slice) {
      shards.push_back({.tensor = &tensor,
                        .initialisation = {},
                        .slice = slice,
                        .begin = 0,
                        .count = tensor.slice_elements(),
                        .values = {zeros.data(), zeros.data(), zeros.data()}});
    }
    return state_root(shards, pool);
  };
  std::vector<Digest> roots{
      root_of({.name = "a", .shape = {8, 8}}),
      root_of({.name = "b", .shape = {8, 8}}),
      root_of({.name = "a", .shape = {4, 16}}),
      root_of({.name = "a", .shape = {64}}),
      root_of({.name = "a", .shape = {8, 8}, .split = Split::kRows, .slices = 2}),
      root_of({.name = "a", .shape = {8, 8}, .split = Split::kColumns, .slices = 2}),
      root_of({.name = "a", .shape = {8, 8}, .split = Split::kColumns, .slices = 4}),
      root_of({.name = "a", .shape = {7, 8}, .split = Split::kRows, .slices = 2, .padded_rows = 8}),
  };
  std::sort(roots.begin(), roots.end());
  EXPECT_EQ(roots.end(), std::unique(roots.begin(), roots.end()));
}

TEST(StateRoot, RefusesGapsRepeatsAndBadShards) {
  ThreadPool pool(2);
  SampleState state(sample_tensors(2), 1);
  state.fill(1);
  const std::vector<StateLeaf> leaves = state_leaves(state.shards(), pool);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    std::vector<StateLeaf> missing = leaves;
    missing.erase(missing.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_THROW(state_root(missing), Error) << i;
    std::vector<StateLeaf> twice = leaves;
    twice.push_back(leaves[i]);
    EXPECT_THROW(state_root(twice), Error) << i;
  }
  std::printf("each of %zu leaves left out, and given twice: refused\n", leaves.size());
  EXPECT_THROW(state_root(std::vector<StateLeaf>{}), Error);
  for (const auto& spoil : std::vector<std::function<void(StateShard&)>>{
           [](StateShard& s) { s.begin = 1; }, [](StateShard& s) { s.count -= 1; }, [](StateShard& s) { s.slice = 2; },
           [](StateShard& s) { s.values[1] = nullptr; }}) {
    StateShard shard = state.shards()[0];
    spoil(shard);
    EXPECT_THROW(state_leaves(std::span(&shard, 1), pool), Error);
  }
}

}  // namespace
}  // namespace baekji
