#include "parallel/grains.h"

#include <vector>

namespace baekji {

GrainMap::GrainMap(std::int64_t grains, std::int64_t degree, std::int64_t rank)
    : grains_(grains), degree_(degree), rank_(rank) {
  if (degree < 1 || grains % degree != 0) {
    throw Error("the tensor degree must divide tensor_grains")
        .values(fmt::format("a divisor of {}", grains), fmt::format("{}", degree))
        .at("[layout] tensor, [numerics] tensor_grains");
  }
}

GrainTree::GrainTree(Kernels& kernels, Communicator& tensor_group, GrainMap map)
    : kernels_(kernels), group_(tensor_group), map_(map) {}

void GrainTree::bind(const Shape& shape, Arena& arena) {
  if (map_.degree() == 1) return;
  constexpr std::string_view kCategory = "tensor exchange";
  // A lone leaf travels as it is, a sum of several before its rounding.
  const DType travelling = map_.count() == 1 ? shape.types.compute : shape.types.accumulator;
  subtree_NC_ = map_.count() == 1 ? Tensor() : arena.allocate(kCategory, travelling, {shape.tokens, shape.columns});
  exchanged_NC_ = arena.allocate(kCategory, travelling, {shape.tokens, shape.columns});
  values_RN_ = arena.allocate(kCategory, shape.types.accumulator, {map_.degree(), shape.chunk});
}

void GrainTree::reduce(const ReduceArgs& args) {
  require_equal(map_.count(), static_cast<std::int64_t>(args.leaves_NC.size()), "one leaf per local slice",
                "grain tree");
  require_equal(map_.degree(), static_cast<std::int64_t>(group_.size()), "the grain map is for another group",
                "tensor axis");
  if (map_.degree() == 1) {
    const bool in_place = args.leaves_NC.size() == 1 && args.leaves_NC[0].data() == args.out_NC.data();
    if (in_place && !args.residual_NC.defined() && args.scale == 1.0) return;
    kernels_.tree_add(
        {.leaves_NC = args.leaves_NC, .out_NC = args.out_NC, .residual_NC = args.residual_NC, .scale = args.scale});
    return;
  }
  const Tensor& leaf = args.leaves_NC.front();
  Tensor mine = leaf;
  if (args.leaves_NC.size() > 1) {
    mine = subtree_NC_.view({subtree_NC_.size()}).rows(0, leaf.size()).view({leaf.dim(0), leaf.dim(1)});
    kernels_.tree_add({.leaves_NC = args.leaves_NC, .out_NC = mine});
  }
  const Tensor theirs =
      exchanged_NC_.view({exchanged_NC_.size()}).rows(0, leaf.size()).view({leaf.dim(0), leaf.dim(1)});
  group_.all_to_all(mine, theirs);
  const std::int64_t rows = map_.local_tokens(leaf.dim(0));
  std::vector<Tensor> subtrees;
  for (std::int64_t rank = 0; rank < map_.degree(); ++rank) subtrees.push_back(theirs.rows(rank * rows, rows));
  kernels_.tree_add(
      {.leaves_NC = subtrees, .out_NC = args.out_NC, .residual_NC = args.residual_NC, .scale = args.scale});
}

void GrainTree::gather_tokens(const Tensor& full_NC) {
  const std::int64_t tokens = full_NC.dim(0);
  group_.all_gather(full_NC.rows(map_.first_token(tokens), map_.local_tokens(tokens)), full_NC);
}

void GrainTree::add_over_ranks(const Tensor& values_N1) {
  if (map_.degree() == 1) return;
  const std::int64_t count = values_N1.size();
  const Tensor all = values_RN_.view({values_RN_.size()}).rows(0, map_.degree() * count);
  group_.all_gather(values_N1.view({count}), all);
  std::vector<Tensor> ranks;
  for (std::int64_t rank = 0; rank < map_.degree(); ++rank) {
    ranks.push_back(all.rows(rank * count, count).view({count, 1}));
  }
  kernels_.tree_add({.leaves_NC = ranks, .out_NC = values_N1});
}

void GrainTree::largest_over_ranks(const Tensor& values) {
  if (map_.degree() == 1) return;
  group_.all_reduce(values, ReduceOp::kMax);
}

}  // namespace baekji
