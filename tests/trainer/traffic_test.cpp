// The bytes that each rank sends in a step, counted by the communicators, against the formulas of docs/parallel.md and
// against a rehearsal of the job.
// Those are computed here from the experiment's numbers alone; only how chunks are dealt out is asked of the code.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

#include "core/file_system.h"
#include "parallel/chunk_partition.h"
#include "parallel/communicator_threads.h"
#include "proof/genesis.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/engine.h"
#include "trainer/rehearsal.h"
#include "trainer/run_inputs.h"

namespace baekji {
namespace {

using Overrides = std::vector<std::string>;

constexpr std::int64_t kSumBytes = 8;    // a fixed-point sum, an fp64
constexpr std::int64_t kFloatBytes = 4;  // a statistic, a sum over several slices

// What a rank sends in an all_reduce of `bytes` over n ranks, and in the collectives whose ranks each keep a part.
std::int64_t reduced(std::int64_t n, std::int64_t bytes) {
  return 2 * (n - 1) * bytes / n;
}
std::int64_t parted(std::int64_t n, std::int64_t bytes) {
  return (n - 1) * bytes / n;
}

// Parameters that stand together, as one rank holds them.
struct Held {
  struct Member {
    std::string name;
    std::int64_t elements = 0;  // of a slice
  };
  std::vector<Member> members;
  bool split = true;
  bool matrix = true;  // summed in the weight half of a backward pass
  std::int64_t unit = 0;
  std::int64_t stage = 0;
  bool tied = false;
};

class Formula {
 public:
  Formula(const Experiment& e, const MeshCoordinate& at)
      : e_(e),
        at_(at),
        grains_(e.numerics.tensor_grains),
        slices_(grains_ / e.layout.tensor),
        tokens_(e.numerics.micro_batch * e.model.context),
        compute_bytes_(e.numerics.precision == "bf16" ? 2 : 4),
        residual_bytes_(e.numerics.residual == "fp32" ? 4 : compute_bytes_) {
    const std::int64_t of_replica = e.numerics.global_batch / e.numerics.micro_batch / e.numerics.replicas;
    const auto before = [&](std::int64_t rank) { return e.numerics.replicas * rank / e.layout.data; };
    micro_batches_ = (before(at.data + 1) - before(at.data)) * of_replica;
    most_replicas_ = (e.numerics.replicas + e.layout.data - 1) / e.layout.data;
    most_micro_batches_ = most_replicas_ * of_replica;
    stages_ = e.layout.pipeline * e.layout.virtual_stages;
    hold();
  }

  AxisTraffic step() const {
    return {.world = world(),
            .tensor = tensor(),
            .data = data(),
            .activations = edge(stages_ - 1),
            .gradients = edge(0),
            .tied = tied()};
  }

 private:
  std::int64_t layers_of(std::int64_t stage) const {
    return stages_ == 1 ? e_.model.layers : e_.layout.layers_per_stage.at(static_cast<std::size_t>(stage));
  }
  std::int64_t stage_of(std::int64_t virtual_stage) const { return virtual_stage * e_.layout.pipeline + at_.pipeline; }

  void hold_gain(const std::string& name, std::int64_t width, std::int64_t unit, std::int64_t stage) {
    held_.push_back({.members = {{name, width}}, .split = false, .matrix = false, .unit = unit, .stage = stage});
  }
  void hold_table(const std::string& name, std::int64_t unit, std::int64_t stage, bool tied) {
    const std::int64_t rows = (e_.model.vocab + grains_ - 1) / grains_;
    held_.push_back(
        {.members = {{name, rows * e_.model.hidden}}, .matrix = false, .unit = unit, .stage = stage, .tied = tied});
  }
  void hold_layer(std::int64_t layer, std::int64_t stage) {
    const ModelConfig& m = e_.model;
    const std::int64_t d = m.hidden / m.heads;
    const std::int64_t unit = 1 + layer;
    const std::string name = fmt::format("layers.{}.", layer);
    const auto matrices = [&](std::vector<Held::Member> members) {
      for (Held::Member& member : members) member = {name + member.name, member.elements / grains_};
      held_.push_back({.members = std::move(members), .unit = unit, .stage = stage});
    };
    hold_gain(name + "attention.norm", m.hidden, unit, stage);
    matrices({{"attention.q", m.heads * d * m.hidden},
              {"attention.k", m.kv_heads * d * m.hidden},
              {"attention.v", m.kv_heads * d * m.hidden}});
    if (m.qk_norm) {
      hold_gain(name + "attention.q_norm", d, unit, stage);
      hold_gain(name + "attention.k_norm", d, unit, stage);
    }
    matrices({{"attention.output", m.hidden * m.heads * d}});
    hold_gain(name + "feed_forward.norm", m.hidden, unit, stage);
    matrices({{"feed_forward.gate", m.ffn * m.hidden}, {"feed_forward.up", m.ffn * m.hidden}});
    matrices({{"feed_forward.down", m.hidden * m.ffn}});
    if (m.output_norms) {
      hold_gain(name + "attention.output_norm", m.hidden, unit, stage);
      hold_gain(name + "feed_forward.output_norm", m.hidden, unit, stage);
    }
  }
  void hold() {
    const bool tied = e_.model.tied_embeddings;
    const std::int64_t head_unit = tied ? 0 : 1 + e_.model.layers;
    for (std::int64_t v = 0; v < e_.layout.virtual_stages; ++v) {
      const std::int64_t stage = stage_of(v);
      std::int64_t layer = 0;
      for (std::int64_t s = 0; s < stage; ++s) layer += layers_of(s);
      if (stage == 0) hold_table("embedding", 0, v, tied && stages_ > 1);
      for (std::int64_t i = 0; i < layers_of(stage); ++i) hold_layer(layer + i, v);
      if (stage < stages_ - 1) continue;
      hold_gain("final_norm", e_.model.hidden, head_unit, v);
      if (!tied) hold_table("head", head_unit, v, false);
      if (tied && stage > 0) hold_table("embedding", head_unit, v, true);
    }
  }

  std::int64_t slices_of(const Held& held) const { return held.split ? slices_ : 1; }

  // What data ranks divide: every bucket, with what it is made of.
  struct Piece {
    const Held* held = nullptr;
    std::string name;
    std::int64_t slice = 0;
    std::int64_t elements = 0;
  };
  struct Parted {
    std::vector<Piece> pieces;
    std::int64_t unit = 0;
    std::vector<Bucket> buckets;
  };
  std::vector<Parted> buckets() const {
    std::map<std::tuple<std::int64_t, bool, bool, std::int64_t>, std::vector<Piece>> by_key;
    for (const Held& held : held_) {
      const std::int64_t unit = e_.layout.zero == 3 ? held.unit : 0;
      for (const Held::Member& member : held.members) {
        for (std::int64_t s = 0; s < slices_of(held); ++s)
          by_key[{held.stage, held.matrix, held.tied, unit}].push_back({&held, member.name, s, member.elements});
      }
    }
    std::vector<Parted> result;
    for (auto& [key, pieces] : by_key) {
      std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
        return std::tuple(-a.held->unit, a.name, a.slice) < std::tuple(-b.held->unit, b.name, b.slice);
      });
      std::vector<std::int64_t> elements;
      for (const Piece& piece : pieces) elements.push_back(piece.elements);
      result.push_back(
          {.pieces = pieces, .unit = std::get<3>(key), .buckets = partition_chunks(elements, e_.layout.data)});
    }
    return result;
  }

  // How often the weights of a unit come in one micro-batch: blocks forward and backward, tables once for each use.
  std::int64_t uses(std::int64_t unit) const {
    const bool block = unit >= 1 && unit <= e_.model.layers;
    return block || e_.model.tied_embeddings ? 2 : 1;
  }

  std::int64_t data() const {
    const std::int64_t n = e_.layout.data;
    std::int64_t sent = 0;
    if (e_.layout.zero == 0) {
      for (const Held& held : held_) {
        std::int64_t elements = 0;
        for (const Held::Member& member : held.members) elements += member.elements;
        sent += slices_of(held) * reduced(n, kSumBytes * elements);
      }
      return sent;
    }
    for (const Parted& parted : buckets()) {
      const std::int64_t sums = e_.layout.zero == 1 ? 1 : most_replicas_;
      const std::int64_t weights = e_.layout.zero == 3 ? most_micro_batches_ * uses(parted.unit) : 1;
      for (const Bucket& bucket : parted.buckets)
        sent += (n - 1) * bucket.part_elements * (sums * kSumBytes + weights * compute_bytes_);
    }
    return sent;
  }

  // What this rank adds up of the sums that `wanted` names: all of them, or its own parts.
  template <class Wanted>
  std::int64_t sums_of(std::int64_t n, const Wanted& wanted) const {
    std::int64_t sent = 0;
    if (e_.layout.zero == 0 || e_.layout.data == 1) {
      for (const Held& held : held_) {
        for (const Held::Member& member : held.members) {
          if (wanted(held)) sent += slices_of(held) * reduced(n, kSumBytes * member.elements);
        }
      }
      return sent;
    }
    for (const Parted& parted : buckets()) {
      for (const Bucket& bucket : parted.buckets) {
        for (const ChunkRange& range : bucket.ranges) {
          if (range.owner == at_.data && wanted(*parted.pieces[range.slice].held))
            sent += reduced(n, kSumBytes * range.count);
        }
      }
    }
    return sent;
  }

  std::int64_t tied() const {
    return sums_of(2, [](const Held& held) { return held.tied; });
  }

  std::int64_t tensor() const {
    const std::int64_t t = e_.layout.tensor;
    const std::int64_t rows = tokens_ * e_.model.hidden;
    const std::int64_t gather = parted(t, rows * compute_bytes_);
    const std::int64_t exchange = parted(t, rows * (slices_ == 1 ? compute_bytes_ : kFloatBytes));
    std::int64_t of_micro_batch = 0;
    for (std::int64_t v = 0; v < e_.layout.virtual_stages; ++v) {
      const std::int64_t stage = stage_of(v);
      std::int64_t of_block = 4 * gather + 4 * exchange;
      if (e_.layout.recompute == "selective") of_block += 2 * gather;
      if (e_.layout.recompute == "full") of_block += 2 * gather + 2 * exchange;
      of_micro_batch += layers_of(stage) * of_block;
      if (stage == 0) of_micro_batch += gather + exchange;
      if (stage == stages_ - 1) of_micro_batch += gather + exchange + loss();
    }
    return micro_batches_ * of_micro_batch + sums_of(t, [](const Held& held) { return !held.split; });
  }

  std::int64_t loss() const {
    const std::int64_t t = e_.layout.tensor;
    std::int64_t sent = 0;
    for (std::int64_t begin = 0; begin < tokens_; begin += e_.numerics.loss_chunk) {
      const std::int64_t tokens = std::min(e_.numerics.loss_chunk, tokens_ - begin);
      sent += reduced(t, kFloatBytes * tokens) + 2 * (t - 1) * kFloatBytes * tokens;
    }
    return sent;
  }

  // A stage's own tokens go to the next one (or back), from all but the stage at the end.
  std::int64_t edge(std::int64_t end) const {
    std::int64_t sent = 0;
    for (std::int64_t v = 0; v < e_.layout.virtual_stages; ++v) {
      if (stage_of(v) == end) continue;
      sent += micro_batches_ * tokens_ / e_.layout.tensor * e_.model.hidden * residual_bytes_;
    }
    return sent;
  }

  std::int64_t world() const {
    const std::int64_t ranks = e_.layout.mesh().size();
    std::int64_t chunks = 0;
    Experiment whole = e_;
    whole.layout = {};
    for (const Held& held : stages_ == 1 ? held_ : Formula(whole, {}).held_) {
      for (const Held::Member& member : held.members)
        chunks += (held.split ? grains_ : 1) * ((member.elements + kChunkElements - 1) / kChunkElements);
    }
    return reduced(ranks, kSumBytes * e_.numerics.global_batch) + reduced(ranks, kSumBytes) +
           2 * reduced(ranks, kSumBytes * chunks) + reduced(ranks, 64 * e_.numerics.global_batch);
  }

  const Experiment& e_;
  MeshCoordinate at_;
  std::int64_t grains_;
  std::int64_t slices_;  // on this rank
  std::int64_t tokens_;  // of a micro-batch
  std::int64_t compute_bytes_;
  std::int64_t residual_bytes_;
  std::int64_t stages_ = 1;
  std::int64_t micro_batches_ = 0;  // of this rank in a step
  std::int64_t most_replicas_ = 0;  // of any data rank
  std::int64_t most_micro_batches_ = 0;
  std::vector<Held> held_;
};

void add(AxisTraffic& sum, const AxisTraffic& one, std::int64_t sign = 1) {
  for (const auto axis : {&AxisTraffic::world, &AxisTraffic::tensor, &AxisTraffic::data, &AxisTraffic::pipeline,
                          &AxisTraffic::activations, &AxisTraffic::gradients, &AxisTraffic::tied})
    sum.*axis += sign * one.*axis;
}

std::string describe(const AxisTraffic& t) {
  return fmt::format("{:>9} {:>10} {:>10} {:>9} {:>11} {:>9} {:>9}", t.world, t.tensor, t.data, t.pipeline,
                     t.activations, t.gradients, t.tied);
}

constexpr const char* kHeader = "    world     tensor       data  pipeline activations gradients      tied";

// Trains two steps and returns what each rank sent in the second one.
std::vector<AxisTraffic> traffic_of(const Experiment& e) {
  std::vector<AxisTraffic> all(static_cast<std::size_t>(e.layout.mesh().size()));
  run_as_ranks(narrow<int>(e.layout.mesh().size()), [&](Communicator& world) {
    const Loader loader = open_inputs(e).loader;
    ThreadPool pool(1);
    const auto kernels = make_cpu_kernels(pool);
    RankGroups ranks(e.layout.mesh(), world);
    Engine engine(e, loader, *kernels, ranks);
    fill_genesis(engine.shards(), static_cast<std::uint64_t>(e.identity.seed), pool);
    engine.state_changed();
    engine.step(1, 1);
    const AxisTraffic before = ranks.traffic();
    engine.step(2, 2);
    AxisTraffic sent = ranks.traffic();
    add(sent, before, -1);
    all[static_cast<std::size_t>(world.rank())] = sent;
  });
  return all;
}

Experiment experiment_of(const Overrides& experiment, const Overrides& layout) {
  Overrides keys{"model.layers=4", "numerics.replicas=4", "numerics.tensor_grains=4", "numerics.micro_batch=1"};
  keys.insert(keys.end(), experiment.begin(), experiment.end());
  for (const std::string& key : layout) keys.push_back("layout." + key);
  return tiny::load("unused", keys);
}

const Overrides kFp32{"numerics.precision='fp32'"};
const Overrides kBf16{"numerics.precision='bf16'"};

void expect_formula(const Overrides& experiment, const std::vector<Overrides>& layouts) {
  std::printf("%s: bytes sent in a step by all ranks, each rank's as the formulas and its rehearsal say\n%s\n",
              fmt::format("{}", fmt::join(experiment, " ")).c_str(), kHeader);
  for (const Overrides& layout : layouts) {
    const Experiment e = experiment_of(experiment, layout);
    const std::string name = fmt::format("{}", fmt::join(layout, " "));
    const std::vector<AxisTraffic> counted = traffic_of(e);
    const Rehearsal rehearsal = rehearse(e, e.layout.mesh().size(), 0);
    AxisTraffic sum;
    for (std::size_t r = 0; r < counted.size(); ++r) {
      const MeshCoordinate at = e.layout.mesh().coordinate(static_cast<std::int64_t>(r));
      const AxisTraffic expected = Formula(e, at).step();
      EXPECT_EQ(counted[r], expected) << name << ", " << at.describe() << "\n"
                                      << kHeader << "\n"
                                      << describe(counted[r]) << " counted\n"
                                      << describe(expected) << " by the formulas";
      EXPECT_EQ(counted[r], rehearsal.kinds[rehearsal.kind_of_rank[r]].step)
          << "rehearsed: " << name << ", " << at.describe();
      add(sum, counted[r]);
    }
    std::printf("%s  %s\n", describe(sum).c_str(), name.c_str());
  }
}

const std::vector<Overrides> kLayouts{
    {"data=1"},
    {"tensor=2"},
    {"tensor=4", "recompute='selective'"},
    {"tensor=2", "recompute='full'"},
    {"data=2"},
    {"data=3"},
    {"data=2", "zero=1"},
    {"data=3", "zero=1", "tensor=2"},
    {"data=3", "zero=2"},
    {"data=2", "zero=3", "recompute='full'"},
    {"data=3", "zero=3", "tensor=2"},
    {"pipeline=2", "layers_per_stage=[1, 3]"},
    {"pipeline=2", "virtual_stages=2", "schedule='interleaved'", "layers_per_stage=[1, 1, 1, 1]"},
    {"pipeline=4", "schedule='zb-h1'", "layers_per_stage=[1, 1, 1, 1]"},
    {"pipeline=2", "data=2", "zero=2", "schedule='zb-h1'", "layers_per_stage=[2, 2]"},
    {"pipeline=2", "data=2", "tensor=2", "zero=1", "recompute='selective'", "layers_per_stage=[2, 2]"},
    {"pipeline=2", "data=3", "zero=2", "virtual_stages=2", "schedule='interleaved'", "layers_per_stage=[1, 1, 1, 1]"},
};

TEST(Traffic, EveryAxisSendsWhatItsFormulaSaysInFp32) {
  expect_formula(kFp32, kLayouts);
}

TEST(Traffic, EveryAxisSendsWhatItsFormulaSaysInBf16) {
  expect_formula(kBf16, kLayouts);
}

TEST(Traffic, EveryAxisSendsWhatItsFormulaSaysWithATiedEmbeddingAndOutputNorms) {
  expect_formula({"numerics.precision='bf16'", "numerics.residual='fp32'", "model.tied_embeddings=true",
                  "model.output_norms=true", "model.kv_heads=2", "numerics.tensor_grains=2", "model.qk_norm=false"},
                 {{"tensor=2", "data=2", "zero=3"},
                  {"pipeline=2", "layers_per_stage=[1, 3]"},
                  {"pipeline=2", "tensor=2", "data=2", "zero=2", "layers_per_stage=[2, 2]"},
                  {"pipeline=4", "data=2", "zero=1", "schedule='zb-h1'", "layers_per_stage=[1, 1, 1, 1]"}});
}

// Slices of several chunks, the last one ragged, and more parameters than one bucket takes.
TEST(Traffic, EveryAxisSendsWhatItsFormulaSaysOverSeveralBuckets) {
  expect_formula({"numerics.precision='bf16'", "model.hidden=128", "model.ffn=1100", "model.vocab=20001",
                  "numerics.global_batch=4"},
                 {{"data=2"}, {"data=3", "zero=1"}, {"data=3", "zero=2"}, {"data=2", "tensor=2", "zero=3"}});
}

TEST(Traffic, AShardedOptimizerSendsLessThanAllReduce) {
  std::printf("bytes that a data rank sends in a step\n%-6s %4s %10s %10s %10s %10s\n", "", "data", "zero 0", "zero 1",
              "zero 2", "zero 3");
  for (const Overrides& precision : {kFp32, kBf16}) {
    for (const std::int64_t ranks : {2, 3, 4}) {
      std::array<std::int64_t, 4> sent{};
      for (std::size_t zero = 0; zero < sent.size(); ++zero) {
        const Experiment e = experiment_of(precision, {fmt::format("data={}", ranks), fmt::format("zero={}", zero)});
        for (const AxisTraffic& rank : traffic_of(e)) sent[zero] = std::max(sent[zero], rank.data);
      }
      std::printf("%-6s %4d %10ld %10ld %10ld %10ld\n", precision == kFp32 ? "fp32" : "bf16", static_cast<int>(ranks),
                  sent[0], sent[1], sent[2], sent[3]);
      EXPECT_LT(sent[1], sent[0]);
    }
  }
}

}  // namespace
}  // namespace baekji
