// The experiment file: layers, overrides, and every refusal with a message that helps.

#include "trainer/experiment.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "core/config.h"
#include "tests/trainer/tiny_run.h"

namespace baekji::tiny {
namespace {

std::string refusal(const std::vector<std::string>& overrides) {
  try {
    load(fresh_folder("unused"), overrides);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Experiment, RefusesWithAHint) {
  const struct {
    const char* override_text;
    const char* expected;
  } cases[] = {
      {"model.hiden=64", "did you mean \"hidden\"?"},
      {"modle.hidden=64", "did you mean \"model\"?"},
      {"model.hidden='wide'", "an integer"},
      {"model.heads=5", "divisible"},
      {"model.kv_heads=3", "divisible"},
      {"numerics.tensor_grains=8", "divisible"},
      {"numerics.tensor_grains=3", "power of two"},
      {"numerics.replicas=3", "multiple of replicas"},
      {"numerics.precision=fp4", "one of fp32, bf16, fp8"},
      {"numerics.precision=fp8", "ffn / tensor_grains: a multiple of 16"},
      {"layout.pipeline=4", "pipeline x virtual_stages <= layers = 2"},
      {"layout.virtual_stages=2", "\"interleaved\" takes more"},
      {"layout.schedule=interleaved", "pipeline > 1 and virtual_stages > 1"},
      {"layout.layers_per_stage=[1, 1]", "1 positive numbers"},
      {"layout.layers_per_stage=[3]", "add up to 2 layers"},
      {"layout.tensor=4", "a divisor of 2"},
      {"layout.data=3", "data <= replicas = 2"},
      {"layout.data=0", "at least 1"},
      {"layout.zero=4", "zero = 0, 1, 2 or 3"},
      {"layout.device=tpu", "one of cpu, cuda"},
      {"layout.schedule=gpipe", "one of 1f1b"},
      {"layout.recompute=half", "recompute"},
      {"optimizer.lr=0", "lr > 0"},
      {"optimizer.decay=0", "decay >= 1"},
      {"run.steps=0", "steps >= 1"},
      {"run.keep=0", "keep >= 1"},
      {"data.tokenizer=''", "tokenizer"},
      {"experiment.seed=-1", "seed"},
      {"experiment.beacon='drand-quicknet'", "beacon and its round"},
      {"experiment.beacon_round=3", "beacon and its round"},
      {"run.beacon_value='00'", "without a beacon"},
      {"run.kernel_sets=['00ff']", "[run] kernel_sets"},
      {"nonsense", "section.key=value"},
  };
  for (const auto& c : cases) {
    const std::string text = refusal({c.override_text});
    EXPECT_NE(text.find(c.expected), std::string::npos) << c.override_text << " gave:\n" << text;
  }
  std::printf("%zu refusals\n", std::size(cases));
}

TEST(Experiment, LayersAndRoundTrip) {
  const Experiment e = load("somewhere", {"layout.recompute=full", "optimizer.lr=1e-3"});
  EXPECT_EQ(e.layout.recompute, "full");
  EXPECT_EQ(e.optimizer.lr, 1e-3);
  const fs::path copy = data_folder() / "copy.toml";
  std::ofstream(copy) << resolved_toml(e);
  EXPECT_EQ(resolved_toml(load_experiment(copy, {})), resolved_toml(e))
      << "the resolved file gives the same experiment";
  const fs::path circle = data_folder() / "circle.toml";
  std::ofstream(circle) << "extends = 'circle.toml'\n";
  EXPECT_THROW(load_experiment(circle, {}), Error);
  const fs::path broken = data_folder() / "broken.toml";
  std::ofstream(broken) << "[model]\nhidden = = 3\n";
  try {
    load_experiment(broken, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("line 2"), std::string::npos) << error.what();
  }
}

TEST(Experiment, TheReferenceFileIsCompleteAndLoads) {
  const fs::path file = fs::path(BAEKJI_SOURCE_DIR) / "configs/reference.toml";
  EXPECT_EQ(read_text(file), reference_toml()) << "write it anew: baekji keys > configs/reference.toml";
  const Experiment e = load_experiment(file, {});
  EXPECT_EQ(e.stages.size(), 2U);
  EXPECT_EQ(e.model.hidden, ModelConfig{}.hidden);
}

TEST(Experiment, ContractHoldsWhatDecidesBitsAndNothingElse) {
  const auto contract = [&](const std::vector<std::string>& overrides) {
    const Experiment e = load("somewhere", overrides);
    const std::vector<TokenStore> stores{TokenStore::open(e.data.sources[0].path),
                                         TokenStore::open(e.data.sources[1].path)};
    return contract_of(e, Digest{}, stores).dump();
  };
  const std::string base = contract({});
  for (const char* same :
       {"layout.recompute=full", "layout.threads=3", "run.steps=99", "log.every=2", "experiment.name=other"}) {
    EXPECT_EQ(contract({same}), base) << same;
  }
  for (const char* other : {"model.norm_eps=1e-6", "optimizer.lr=1e-3", "numerics.loss_chunk=16", "experiment.seed=6",
                            "numerics.residual=fp32"}) {
    EXPECT_NE(contract({other}), base) << other;
  }
  EXPECT_EQ(base.find(data_folder().string()), std::string::npos) << "no path in the contract";
}

}  // namespace
}  // namespace baekji::tiny
