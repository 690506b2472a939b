#include "parallel/grains.h"

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
    : kernels_(kernels), group_(tensor_group), map_(map) {
  require_equal(map.degree(), static_cast<std::int64_t>(tensor_group.size()), "the grain map is for another group",
                "tensor axis");
  if (map.degree() != 1) {
    throw Error("tensor parallelism over several ranks is not supported yet")
        .values("tensor = 1", fmt::format("{}", map.degree()))
        .at("[layout] tensor");
  }
}

void GrainTree::reduce(const ReduceArgs& args) {
  require_equal(map_.count(), static_cast<std::int64_t>(args.leaves_NC.size()), "one leaf per local slice",
                "grain tree");
  const bool in_place = args.leaves_NC.size() == 1 && args.leaves_NC[0].data() == args.out_NC.data();
  if (in_place && !args.residual_NC.defined() && args.scale == 1.0) return;
  kernels_.tree_add(
      {.leaves_NC = args.leaves_NC, .out_NC = args.out_NC, .residual_NC = args.residual_NC, .scale = args.scale});
}

void GrainTree::gather_tokens(const Tensor& full_NC) {
  const std::int64_t tokens = full_NC.dim(0);
  group_.all_gather(full_NC.rows(map_.first_token(tokens), map_.local_tokens(tokens)), full_NC);
}

}  // namespace baekji
