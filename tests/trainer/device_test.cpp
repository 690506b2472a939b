// Training on a CUDA device: every layout gives the root of one rank, a resumed run the root of a whole one, and losses
// stand where the CPU's are. Skipped where there is no device; the same cases run on a stand-in (tests/cuda_on_cpu).

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "core/device_cuda.h"
#include "core/state_values.h"
#include "parallel/communicator_threads.h"
#include "proof/genesis.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/engine.h"
#include "trainer/rank_kernels.h"
#include "trainer/run_inputs.h"

namespace baekji {
namespace {

using Overrides = std::vector<std::string>;

class DeviceTraining : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device";
  }
};

Experiment device_experiment(Overrides overrides, const Overrides& layout, std::string_view device = "cuda") {
  overrides.insert(overrides.end(), {"model.layers=2", "numerics.replicas=2", "numerics.micro_batch=1",
                                     "numerics.global_batch=4", fmt::format("layout.device='{}'", device)});
  for (const std::string& key : layout) overrides.push_back("layout." + key);
  return tiny::load("unused", overrides);
}

struct DeviceHistory {
  std::vector<std::string> roots;
  std::vector<double> losses;
  std::vector<std::string> void_parameters;
  // A NaN is one loss like another.
  bool operator==(const DeviceHistory& other) const {
    const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    return roots == other.roots && void_parameters == other.void_parameters &&
           std::equal(losses.begin(), losses.end(), other.losses.begin(), other.losses.end(), same);
  }
};

constexpr std::int64_t kDeviceSteps = 2;

// One element of the master weights, written where the device has it.
void spoil_first(const StateShard& shard, float value) {
  std::vector<float> buffer;
  const StateRange range{.shard = shard, .kind = StateKind::kMaster, .begin = 0, .count = 1};
  values_to_write(range, buffer)[0] = value;
  write_back(range, buffer);
}

DeviceHistory device_history_of(const Experiment& e, Communicator& world, float bad = 0) {
  const Loader loader = open_inputs(e).loader;
  ThreadPool pool(1);
  const auto kernels = make_kernels(e.layout, pool, {.ranks = world.size(), .rank = world.rank()});
  RankGroups ranks(e.layout.mesh(), world);
  Engine engine(e, loader, *kernels, ranks);
  fill_genesis(engine.shards(), static_cast<std::uint64_t>(e.identity.seed), pool);
  for (const StateShard& shard : engine.shards()) {
    const bool here = shard.tensor->name == "layers.1.feed_forward.norm" && shard.begin == 0;
    if (bad != 0 && here) spoil_first(shard, bad);
  }
  engine.state_changed();
  DeviceHistory history;
  for (std::int64_t step = 1; step <= kDeviceSteps; ++step) {
    const StepResult result = engine.step(step, step);
    history.losses.push_back(result.loss);
    history.void_parameters.push_back(result.outcome.void_parameter);
    history.roots.push_back(to_hex(engine.state_root(pool)));
  }
  return history;
}

DeviceHistory device_alone(const Experiment& e, float bad = 0) {
  const auto self = make_self_communicator();
  return device_history_of(e, *self, bad);
}

const std::vector<Overrides> kDeviceLayouts{
    {"recompute='full'"},   {"recompute='selective'"},          {"data=2", "zero=2"},      {"data=2", "zero=3"},
    {"tensor=2", "data=2"}, {"pipeline=2", "schedule='zb-h1'"}, {"pipeline=2", "tensor=2"}};

void expect_device_layouts(const Overrides& overrides, float bad = 0) {
  const DeviceHistory want = device_alone(device_experiment(overrides, {}), bad);
  EXPECT_EQ(device_alone(device_experiment(overrides, {}), bad), want) << "the same run again";
  for (const Overrides& layout : kDeviceLayouts) {
    const std::string name = fmt::format("{}", fmt::join(layout, " "));
    const Experiment e = device_experiment(overrides, layout);
    EXPECT_NO_THROW(run_as_ranks(narrow<int>(e.layout.mesh().size()), [&](Communicator& world) {
      if (device_history_of(e, world, bad) != want) throw Error("another history than one rank's").at(name);
    })) << name;
  }
  std::printf("%zu layouts on %s give the roots of one rank, the last one %.16s\n", kDeviceLayouts.size(),
              cuda_info({.kind = DeviceKind::kCuda}).name.c_str(), want.roots.back().c_str());
}

TEST_F(DeviceTraining, EveryLayoutGivesTheRootOfOneRankInBf16) {
  expect_device_layouts({"numerics.precision='bf16'"});
}

TEST_F(DeviceTraining, EveryLayoutGivesTheRootOfOneRankInFp32) {
  expect_device_layouts({"numerics.precision='fp32'", "model.tied_embeddings=true"});
}

TEST_F(DeviceTraining, EveryLayoutGivesTheRootOfOneRankInFp8) {
  expect_device_layouts({"numerics.precision='fp8'", "model.ffn=64", "model.document_mask=false"});
}

TEST_F(DeviceTraining, AnOverflowMakesTheStepVoidInEveryLayout) {
  const Overrides overrides{"numerics.precision='bf16'"};
  const DeviceHistory spoiled = device_alone(device_experiment(overrides, {}), HUGE_VALF);
  EXPECT_FALSE(spoiled.void_parameters.front().empty());
  EXPECT_EQ(spoiled.roots[0], spoiled.roots[1]) << "a void step changes nothing";
  expect_device_layouts(overrides, HUGE_VALF);
}

TEST_F(DeviceTraining, LossesAgreeWithTheCpu) {
  for (const auto& [precision, tolerance] : {std::pair{"fp32", 2e-5}, std::pair{"bf16", 5e-3}}) {
    const Overrides overrides{fmt::format("numerics.precision='{}'", precision)};
    const DeviceHistory device = device_alone(device_experiment(overrides, {}));
    const DeviceHistory cpu = device_alone(device_experiment(overrides, {}, "cpu"));
    for (std::size_t i = 0; i < cpu.losses.size(); ++i) {
      EXPECT_NEAR(device.losses[i] / cpu.losses[i], 1, tolerance) << precision << ", step " << i + 1;
      std::printf("%s step %zu: loss %.6f on the device, %.6f on the CPU\n", precision, i + 1, device.losses[i],
                  cpu.losses[i]);
    }
  }
}

TEST_F(DeviceTraining, AResumedRunEndsInTheSameRoot) {
  const Overrides common{"layout.device='cuda'", "numerics.precision='bf16'", "numerics.micro_batch=1",
                         "numerics.global_batch=4"};
  const auto with_steps = [&](std::int64_t steps) {
    Overrides overrides = common;
    overrides.push_back(fmt::format("run.steps={}", steps));
    return overrides;
  };
  const std::string whole = tiny::train_root(tiny::fresh_folder("device_whole"), with_steps(4));
  const auto parts = tiny::fresh_folder("device_parts");
  tiny::train_root(parts, with_steps(2));
  EXPECT_EQ(tiny::train_root(parts, with_steps(4)), whole);
}

}  // namespace
}  // namespace baekji
