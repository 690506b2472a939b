// Negative controls of the law: sums over ranks in another order, or products at another shape than a slice's, change
// the state root. Were it not so, the tests of the layouts would prove nothing.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <memory>

#include "core/file_system.h"
#include "kernels/forwarding_kernels.h"
#include "parallel/communicator_threads.h"
#include "proof/genesis.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/engine.h"
#include "trainer/run_inputs.h"

namespace baekji {
namespace {

// Of three steps.
struct Trained {
  std::vector<std::string> roots;
  std::vector<double> losses;
  bool operator==(const Trained&) const = default;
};
using Order = std::array<std::size_t, 4>;
constexpr Order kOwnOrder{0, 1, 2, 3};

// Adds the sums of four ranks in another order.
class PermutedSums final : public ForwardingKernels {
 public:
  PermutedSums(Kernels& inner, const Order& order) : ForwardingKernels(inner), order_(order) {}
  void tree_add(const TreeAddArgs& args) override {
    TreeAddArgs changed = args;
    std::vector<Tensor> leaves(args.leaves_NC.begin(), args.leaves_NC.end());
    if (leaves.size() == order_.size()) {
      for (std::size_t i = 0; i < order_.size(); ++i) leaves[i] = args.leaves_NC[order_[i]];
      changed.leaves_NC = leaves;
    }
    inner().tree_add(changed);
  }

 private:
  Order order_;
};

Order order_of(std::uint64_t seed) {
  const RandomStream stream("controls", seed, "order of ranks");
  Order order = kOwnOrder;
  for (std::size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[stream.below(i, i + 1)]);
  return order;
}
// (a + b) + (c + d) is the same sum while a stays beside b: an addition has no order.
bool same_tree(const Order& order) {
  return order[0] / 2 == order[1] / 2;
}

// Takes the products of a rank's two slices that are added next, and makes them again: as they were, or as one product
// over the joined inner dims, which is what a rank would run that did not know of slices.
class RankShapedProducts final : public ForwardingKernels {
 public:
  /// `replaced` counts the pairs.
  RankShapedProducts(Kernels& inner, bool joined, std::atomic<std::int64_t>& replaced)
      : ForwardingKernels(inner), joined_(joined), replaced_(replaced) {}

  void matmul(const MatmulArgs& args) override {
    inner().matmul(args);
    if (args.accumulate)
      products_.erase(args.c.data());
    else
      products_[args.c.data()] = args;
  }
  void embedding_forward(const EmbeddingForwardArgs& args) override {
    inner().embedding_forward(args);
    products_.erase(args.y_NC.data());
  }
  void tree_add(const TreeAddArgs& args) override {
    const bool ours = args.leaves_NC.size() == 2 && std::all_of(args.leaves_NC.begin(), args.leaves_NC.end(),
                                                                [&](const Tensor& leaf) { return is_product(leaf); });
    if (!ours) {
      inner().tree_add(args);
    } else {
      ++replaced_;
      const MatmulArgs first = products_.at(args.leaves_NC[0].data());
      const MatmulArgs second = products_.at(args.leaves_NC[1].data());
      if (joined_)
        add_joined(args, first, second);
      else
        add_again(args, first, second);
    }
    products_.clear();
  }

 private:
  struct Made {
    std::vector<std::byte> bytes;
    Tensor tensor;
  };

  bool is_product(const Tensor& leaf) const {
    const auto found = products_.find(leaf.data());
    return found != products_.end() && found->second.c.dim(0) == leaf.dim(0) && found->second.c.dim(1) == leaf.dim(1);
  }
  static std::unique_ptr<Made> make(DType type, std::int64_t rows, std::int64_t columns) {
    auto made = std::make_unique<Made>();
    made->bytes.resize(static_cast<std::size_t>(rows * columns * size_of(type)));
    made->tensor = Tensor(made->bytes.data(), type, {rows, columns});
    return made;
  }
  static void copy_rows(const Tensor& from, const Tensor& to) {
    for (std::int64_t r = 0; r < from.dim(0); ++r)
      std::memcpy(to.rows(r, 1).data(), from.rows(r, 1).data(),
                  static_cast<std::size_t>(from.dim(1) * size_of(from.type())));
  }
  // Beside one another along the inner dim, which is the last one or the first one.
  static std::unique_ptr<Made> join(const Tensor& first, const Tensor& second, bool inner_last) {
    const std::int64_t rows = first.dim(0) + (inner_last ? 0 : second.dim(0));
    auto made = make(first.type(), rows, first.dim(1) + (inner_last ? second.dim(1) : 0));
    const Tensor& all = made->tensor;
    copy_rows(first, inner_last ? all.columns(0, first.dim(1)) : all.rows(0, first.dim(0)));
    copy_rows(second, inner_last ? all.columns(first.dim(1), second.dim(1)) : all.rows(first.dim(0), second.dim(0)));
    return made;
  }
  static void add_leaves(Kernels& kernels, const TreeAddArgs& args, std::span<const Tensor> leaves) {
    TreeAddArgs changed = args;
    changed.leaves_NC = leaves;
    kernels.tree_add(changed);
  }
  void add_joined(const TreeAddArgs& args, const MatmulArgs& first, const MatmulArgs& second) const {
    const auto a = join(first.a, second.a, !first.transpose_a);
    const auto b = join(first.b, second.b, first.transpose_b);
    const auto c = make(DType::kFloat32, first.c.dim(0), first.c.dim(1));
    MatmulArgs product = first;
    product.a = a->tensor;
    product.b = b->tensor;
    product.c = c->tensor;
    product.b_is_weight = false;
    inner().matmul(product);
    add_leaves(inner(), args, std::array{c->tensor});
  }
  void add_again(const TreeAddArgs& args, MatmulArgs first, MatmulArgs second) const {
    const auto c1 = make(first.c.type(), first.c.dim(0), first.c.dim(1));
    const auto c2 = make(second.c.type(), second.c.dim(0), second.c.dim(1));
    first.c = c1->tensor;
    second.c = c2->tensor;
    inner().matmul(first);
    inner().matmul(second);
    add_leaves(inner(), args, std::array{c1->tensor, c2->tensor});
  }

  bool joined_;
  std::atomic<std::int64_t>& replaced_;
  std::map<const void*, MatmulArgs> products_;  // by where they lie
};

using Decorate = std::function<std::unique_ptr<ForwardingKernels>(Kernels&)>;

Trained train(const std::string& precision, std::int64_t tensor, const Decorate& decorate) {
  const Experiment e =
      tiny::load("unused", {"model.layers=3", "model.hidden=64", "model.ffn=96", "numerics.tensor_grains=4",
                            "numerics.global_batch=32", "numerics.precision=" + precision,
                            fmt::format("layout.tensor={}", tensor)});
  Trained trained;
  run_as_ranks(narrow<int>(tensor), [&](Communicator& world) {
    const Loader loader = open_inputs(e).loader;
    ThreadPool pool(1);
    const auto kernels = make_cpu_kernels(pool);
    const auto decorated = decorate(*kernels);
    RankGroups ranks(e.layout.mesh(), world);
    Engine engine(e, loader, *decorated, ranks);
    fill_genesis(engine.shards(), static_cast<std::uint64_t>(e.identity.seed), pool);
    engine.state_changed();
    for (std::int64_t step = 1; step <= 3; ++step) {
      const StepResult result = engine.step(step, step);
      const std::string root = to_hex(engine.state_root(pool));
      if (world.rank() != 0) continue;
      trained.roots.push_back(root);
      trained.losses.push_back(result.loss);
    }
  });
  return trained;
}

Trained train_in_order(const std::string& precision, const Order& order) {
  return train(precision, 4, [&](Kernels& inner) { return std::make_unique<PermutedSums>(inner, order); });
}

// In bf16 the sum of four leaves is exact but for rare exponents, and has no order. What has one are the sums of
// exponentials over the ranks' logits, and it shows in the loss for sure, in a weight by chance.
TEST(OrderControls, SumsOfFourRanksInAnotherOrderChangeTheRoot) {
  for (const std::string precision : {"fp32", "bf16"}) {
    const Trained alone =
        train(precision, 1, [](Kernels& inner) { return std::make_unique<ForwardingKernels>(inner); });
    EXPECT_EQ(train_in_order(precision, kOwnOrder), alone) << "the decorator itself changes nothing";
    int changed = 0;
    int roots_changed = 0;
    int kept = 0;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      const Order order = order_of(seed);
      const Trained trained = train_in_order(precision, order);
      const std::string name = fmt::format("{} {}", precision, fmt::join(order, ", "));
      if (same_tree(order)) {
        EXPECT_EQ(trained, alone) << name << " is the same tree";
        ++kept;
        continue;
      }
      EXPECT_NE(trained.losses, alone.losses) << name;
      if (precision == "fp32") {
        EXPECT_NE(trained.roots[0], alone.roots[0]) << name;
        EXPECT_NE(trained.roots[2], alone.roots[2]) << name;
      }
      roots_changed += trained.roots[2] != alone.roots[2] ? 1 : 0;
      ++changed;
    }
    EXPECT_GE(changed, 3);
    std::printf(
        "%s: %d seeded orders of four ranks' sums changed the losses and %d of them the root, %d that keep the tree "
        "changed nothing\n",
        precision.c_str(), changed, roots_changed, kept);
  }
}

TEST(OrderControls, ProductsAtTheShapeOfARankChangeTheRoot) {
  for (const std::string precision : {"fp32", "bf16"}) {
    std::atomic<std::int64_t> replaced{0};
    const auto with = [&](bool joined) {
      replaced = 0;
      return train(precision, 2,
                   [&](Kernels& inner) { return std::make_unique<RankShapedProducts>(inner, joined, replaced); });
    };
    const Trained alone =
        train(precision, 1, [](Kernels& inner) { return std::make_unique<ForwardingKernels>(inner); });
    EXPECT_EQ(with(false), alone) << "the same products at slice shape, made again";
    const std::int64_t again = replaced;
    const Trained joined = with(true);
    EXPECT_EQ(replaced, again);
    EXPECT_GT(again, 100);
    EXPECT_NE(joined.roots[0], alone.roots[0]);
    EXPECT_NE(joined.roots[2], alone.roots[2]);
    std::printf("%s: %ld pairs of products as one at rank shape changed the root, at slice shape they did not\n",
                precision.c_str(), static_cast<long>(again));
  }
}

}  // namespace
}  // namespace baekji
