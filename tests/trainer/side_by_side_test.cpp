#include "trainer/side_by_side.h"

#include <gmock/gmock.h>

#include <memory>

#include "parallel/communicator_threads.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/trace.h"

namespace baekji::tiny {
namespace {

using testing::HasSubstr;

// Kernels that are one bit wrong in the feed-forward part of layer 1: each layer of a micro-batch has two slices.
class WrongInOneLayer final : public ForwardingKernels {
 public:
  explicit WrongInOneLayer(std::unique_ptr<Kernels> inner) : ForwardingKernels(*inner), owned_(std::move(inner)) {}
  void swiglu_forward(const SwigluForwardArgs& args) override {
    inner().swiglu_forward(args);
    if (calls_++ % 4 == 3) args.y_NF.as<float>()[5] += 0x1p-12F;
  }

 private:
  std::unique_ptr<Kernels> owned_;
  int calls_ = 0;
};

struct Fixture {
  Experiment first, second;
  RunInputs inputs;
  Ledger ledger;
};

Fixture fixture(const std::vector<std::string>& layout) {
  const fs::path run = fresh_folder("side_by_side");
  train_alone(load(run, {"numerics.precision='fp32'"}));
  std::vector<std::string> keys{"numerics.precision='fp32'"};
  Experiment first = load(run, keys);
  for (const std::string& key : layout) keys.push_back("layout." + key);
  RunInputs inputs = open_inputs(first);
  return {.first = std::move(first),
          .second = load(run, keys),
          .inputs = std::move(inputs),
          .ledger = Ledger::open_read_only(run / "ledger.jsonl")};
}

std::optional<SideBySideDifference> compare(const Fixture& f, const KernelsMaker& second) {
  std::optional<SideBySideDifference> found;
  run_as_ranks(static_cast<int>(f.second.layout.mesh().size()), [&](Communicator& world) {
    const auto mine = compare_side_by_side({.first = f.first,
                                            .second = f.second,
                                            .inputs = f.inputs,
                                            .ledger = f.ledger,
                                            .anchor = {.position = {}, .root = f.ledger.genesis().state_root},
                                            .last = 3,
                                            .first_kernels = {},
                                            .second_kernels = second},
                                           world);
    if (world.rank() == 0) found = mine;
  });
  return found;
}

TEST(SideBySide, FindsTheLayerAndTheOperationThatDiffer) {
  for (const std::vector<std::string>& layout : {std::vector<std::string>{}, {"data=2"}}) {
    const auto found = compare(
        fixture(layout), [](ThreadPool& pool) { return std::make_unique<WrongInOneLayer>(make_cpu_kernels(pool)); });
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->step, 1);
    EXPECT_EQ(found->operation, "layers.1.feed_forward.gate, then swiglu, forward");
    EXPECT_EQ(found->element, 5);
    EXPECT_NEAR(found->second - found->first, 0x1p-12, 1e-7);
    std::printf("step %ld: %s, element %ld: %.9g and %.9g\n", found->step, found->operation.c_str(), found->element,
                found->first, found->second);
  }
}

TEST(SideBySide, ReferenceKernelsDifferInTheFirstOperationThatRounds) {
  const auto found = compare(fixture({}), [](ThreadPool&) { return make_reference_kernels(ScalarKind::kFloat); });
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->operation, HasSubstr("layers.0.attention"));
}

// Layouts that agree leave traces that agree: no operation of one rank is missing from those of several.
TEST(SideBySide, LayoutsThatAgreeLeaveTheSameTrace) {
  const std::vector<std::vector<std::string>> layouts{{"tensor=2"},
                                                      {"data=2", "zero=2"},
                                                      {"pipeline=2", "schedule='zb-h1'"},
                                                      {"pipeline=2", "data=2", "tensor=2"},
                                                      {"recompute='selective'"}};
  for (const auto& layout : layouts) {
    const Fixture f = fixture(layout);
    const auto trace_of = [&](const Experiment& e, Communicator& world) {
      TracingKernels* tracing = nullptr;
      Execution run({.experiment = e,
                     .inputs = f.inputs,
                     .skipped = f.ledger.skipped(),
                     .kernels =
                         [&](ThreadPool& pool) {
                           auto made = std::make_unique<TracingKernels>(make_cpu_kernels(pool));
                           tracing = made.get();
                           return made;
                         }},
                    world);
      run.start_from_genesis();
      tracing->know(run.engine().parameters());
      tracing->start();
      run.step(false);
      return tracing->stop();
    };
    const auto self = make_self_communicator();
    const Trace whole = trace_of(f.first, *self);
    std::vector<std::string> texts(static_cast<std::size_t>(f.second.layout.mesh().size()));
    run_as_ranks(static_cast<int>(texts.size()), [&](Communicator& world) {
      texts[static_cast<std::size_t>(world.rank())] = trace_of(f.second, world).to_text();
    });
    Trace parts;
    for (const std::string& text : texts) parts.merge(text);
    const auto difference = first_difference(whole, parts);
    EXPECT_FALSE(difference.has_value()) << difference->name << ", " << layout.front();
    EXPECT_GT(whole.operations().size(), 40U);
    EXPECT_FALSE(compare(f, {}).has_value());
    std::printf("%zu operations of one rank are all in those of %zu ranks (%s...)\n", whole.operations().size(),
                texts.size(), layout.front().c_str());
  }
}

}  // namespace
}  // namespace baekji::tiny
