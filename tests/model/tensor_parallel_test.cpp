// One micro-batch forward and backward over 1, 2, 4 tensor ranks: the same losses and the same gradient sums, bit for
// bit.

#include <gmock/gmock.h>

#include <cstring>
#include <map>

#include "core/thread_pool.h"
#include "parallel/communicator_threads.h"
#include "tests/model/oracle_model.h"

namespace baekji::oracle {
namespace {

constexpr std::int64_t kGrains = 4;

// What a rank has computed: gradient sums by (parameter, slice, contribution), as bytes.
struct Sums {
  std::vector<double> losses;
  std::map<std::string, std::vector<std::byte>> gradients;
};

Sums train(const Setup& setup, const Place& place, const GrainMap& map) {
  OracleModel<float> model(setup, place);
  Sums sums{.losses = model.train()};
  for (const ParameterSlice& slice : model.slices()) {
    const bool split = slice.spec->logical.split != Split::kNone;
    for (std::size_t c = 0; c < slice.contributions.size(); ++c) {
      // Of a gain, which every rank holds whole, a rank sums the contributions of its own grains.
      const auto grain = static_cast<std::int64_t>(c);
      if (!split && (grain < map.first() || grain >= map.first() + map.count())) continue;
      const Tensor& gradient = slice.contributions[c];
      const auto* bytes = static_cast<const std::byte*>(gradient.data());
      sums.gradients[fmt::format("{} slice {} contribution {}", slice.spec->logical.name, slice.slice, c)] = {
          bytes, bytes + gradient.size_bytes()};
    }
  }
  return sums;
}

void expect_part_of(const Sums& whole, const Sums& part, const std::string& what) {
  if (part.losses != whole.losses) throw Error("the losses differ").at(what);
  for (const auto& [name, bytes] : part.gradients) {
    if (whole.gradients.at(name) != bytes) throw Error("a gradient sum differs").at(what + ", " + name);
  }
}

Setup setup_of(bool bf16) {
  Setup setup{.model = small_model(), .grains = kGrains, .shape = {.sequences = 2, .context = 6}};
  setup.model.heads = 8;
  setup.model.kv_heads = 4;
  setup.model.hidden = 32;
  setup.model.ffn = 24;
  setup.model.qk_norm = true;
  setup.model.output_norms = true;
  setup.model.document_mask = true;
  setup.model.embedding_multiplier = 3.0;
  setup.model.residual_multiplier = 0.6;
  setup.model.logits_multiplier = 1.3;
  setup.bf16 = bf16;
  return setup;
}

// Compares all degrees with one rank on the same kernels; returns how many gradient sums were compared.
std::size_t compare(const Setup& setup, bool cpu) {
  const auto kernels_of = [&](ThreadPool& pool) {
    return cpu ? make_cpu_kernels(pool) : make_reference_kernels(ScalarKind::kFloat);
  };
  ThreadPool pool(2);
  const auto kernels = kernels_of(pool);
  const Sums whole = train(setup, {.kernels = kernels.get()}, GrainMap(kGrains, 1, 0));
  std::atomic<std::size_t> compared{0};
  for (const int degree : {2, 4}) {
    run_as_ranks(degree, [&](Communicator& group) {
      ThreadPool own(1);
      const auto own_kernels = kernels_of(own);
      const Sums part =
          train(setup, {.kernels = own_kernels.get(), .tensor_group = &group}, GrainMap(kGrains, degree, group.rank()));
      expect_part_of(whole, part, fmt::format("tensor degree {}, rank {}", degree, group.rank()));
      compared += part.gradients.size();
    });
  }
  return compared;
}

TEST(TensorParallel, AnyDegreeGivesTheBitsOfOneRank) {
  std::size_t compared = 0;
  for (const bool bf16 : {false, true}) {
    for (const bool cpu : {false, true}) {
      oracle::Setup setup = setup_of(bf16);
      compared += compare(setup, cpu);
      setup.model.output_norms = false;
      setup.model.qk_norm = false;
      setup.model.tied_embeddings = true;
      setup.recompute = Recompute::kFull;
      compared += compare(setup, cpu);
    }
  }
  std::printf("%zu gradient sums of 2 and 4 tensor ranks equal those of one rank, bit for bit\n", compared);
}

TEST(TensorParallel, SeveralSlicesOfARankAreNotTheirWeightsJoined) {
  // Negative control: another number of slices is another experiment.
  oracle::Setup two = setup_of(false);
  two.grains = 2;
  EXPECT_NE(OracleModel<float>(two).train(), OracleModel<float>(setup_of(false)).train());
}

TEST(TensorParallel, PlannedMemoryCountsTheExchange) {
  run_as_ranks(2, [](Communicator& group) {
    const auto kernels = make_reference_kernels(ScalarKind::kFloat);
    GrainTree grains(*kernels, group, GrainMap(kGrains, 2, group.rank()));
    Arena arena(Arena::Mode::kMeasure);
    const ElementTypes types{.compute = DType::kBfloat16, .residual = DType::kBfloat16};
    grains.bind({.types = types, .tokens = 64, .columns = 16, .chunk = 32}, arena);
    // Two slices a rank: their sum and what arrives from both ranks travel in fp32.
    require_equal(2 * 64 * 16 * 4 + 2 * 32 * 4, arena.total_bytes(), "bytes of the exchange", "tensor degree 2");
  });
}

}  // namespace
}  // namespace baekji::oracle
