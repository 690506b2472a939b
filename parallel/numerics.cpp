#include "parallel/numerics.h"

#include <bit>

namespace baekji {

void validate(const NumericsConfig& n, std::int64_t context, const std::string& place) {
  const auto positive = [&](std::int64_t value, const char* key) {
    if (value < 1)
      throw Error(fmt::format("{} must be at least 1", key)).values(">= 1", fmt::format("{}", value)).at(place);
  };
  positive(n.global_batch, "global_batch");
  positive(n.micro_batch, "micro_batch");
  positive(n.replicas, "replicas");
  positive(n.tensor_grains, "tensor_grains");
  positive(n.loss_chunk, "loss_chunk");
  positive(context, "context");
  if (!std::has_single_bit(static_cast<std::uint64_t>(n.tensor_grains))) {
    throw Error("tensor_grains must be a power of two")
        .values("1, 2, 4, 8, ...", fmt::format("{}", n.tensor_grains))
        .at(place);
  }
  if (n.global_batch % (n.replicas * n.micro_batch) != 0) {
    throw Error("global_batch must be a whole number of micro-batches for every replica")
        .values(fmt::format("a multiple of replicas * micro_batch = {}", n.replicas * n.micro_batch),
                fmt::format("{}", n.global_batch))
        .at(place)
        .hint("change global_batch, replicas or micro_batch");
  }
  if ((n.micro_batch * context) % n.tensor_grains != 0) {
    throw Error("tensor_grains must divide the tokens of a micro-batch")
        .values(fmt::format("a divisor of {}", n.micro_batch * context), fmt::format("{}", n.tensor_grains))
        .at(place);
  }
}

}  // namespace baekji
