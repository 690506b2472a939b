#include "plan/block_cost.h"

#include <algorithm>
#include <array>

namespace baekji {
namespace {

// Operations of a block beside its products and attention: the host launches each.
constexpr double kForwardOperations = 30;
constexpr double kBackwardOperations = 60;
// With 8 bits a copy is read in 16, written in 8, and once more transposed.
constexpr double kCopyBytes = 4;

// Extents of a block on one rank.
struct Extents {
  double tokens, hidden, query, key_value, ffn, gate, tensor, slices;

  explicit Extents(const Workload& w)
      : tokens(static_cast<double>(w.micro_batch * w.sequence) / static_cast<double>(w.layout.context)),
        hidden(static_cast<double>(w.model.hidden)),
        query(static_cast<double>(w.model.attention_width()) / static_cast<double>(w.layout.tensor)),
        key_value(static_cast<double>(w.model.kv_width()) / static_cast<double>(w.layout.tensor)),
        ffn(static_cast<double>(w.model.ffn) / static_cast<double>(w.layout.tensor)),
        gate(static_cast<double>(w.model.gate)),
        tensor(static_cast<double>(w.layout.tensor)),
        slices(static_cast<double>(w.slices)) {}

  /// Of one slice, forward; the gradients have the same extents in other places.
  std::array<ProductShape, 4> products() const {
    return {{{tokens, (query + 2 * key_value) / slices, hidden},
             {tokens, hidden, query / slices},
             {tokens, gate * ffn / slices, hidden},
             {tokens, hidden, ffn / slices}}};
  }
};

// Bytes of the pointwise operations: two norms and two sums with the residual stream, activation, rotation.
double pointwise_bytes(const Extents& e, const ImplementationProfile& profile) {
  const double stream = e.tokens * e.hidden * 2 / (profile.splits_tokens ? e.tensor : 1);
  const double norms = 4 * stream + 6 * stream;
  const double activation = (e.gate + 1) * e.tokens * e.ffn * 2;
  const double rotation = 2 * e.tokens * (e.query + e.key_value) * 2;
  // GPT's: biases and dropout.
  const double older = e.gate < 2 ? 4 * stream : 0;
  return profile.pointwise * (norms + activation + rotation + older);
}

double forward_copies(const Extents& e) {
  return kCopyBytes * e.tokens * (2 * e.hidden + e.query + e.ffn);
}
double backward_copies(const Extents& e) {
  return kCopyBytes * e.tokens * (e.query + 2 * e.key_value + 2 * e.hidden + e.gate * e.ffn);
}

void add_products(const CostContext& c, const Extents& e, BlockSeconds& block) {
  for (const ProductShape& p : e.products()) {
    block.forward.products += e.slices * c.device.product_s(p);
    block.backward_input.products += e.slices * c.device.product_s({p.rows, p.inner, p.columns});
    block.backward_weight.products += e.slices * c.device.product_s({p.inner, p.columns, p.rows});
  }
  if (e.slices > 1) {
    // Two sums over slices in each direction: every slice's result is written and read in 32 bits.
    const double sums = c.device.bytes_s(2 * e.slices * e.tokens * e.hidden * 8);
    block.forward.pointwise += sums;
    block.backward_input.pointwise += sums;
  }
  block.backward_weight.pointwise +=
      c.device.bytes_inside_s(block_parameters_of_rank(c.workload) * c.profile.accumulate_bytes);
}

void add_attention(const CostContext& c, const Extents& e, BlockSeconds& block) {
  const AttentionShape shape{.queries = e.tokens,
                             .sequence = static_cast<double>(c.workload.sequence),
                             .heads = e.query / static_cast<double>(c.workload.model.head_width),
                             .head_width = static_cast<double>(c.workload.model.head_width)};
  block.forward.attention = c.device.attention_forward_s(shape);
  block.backward_input.attention = c.device.attention_backward_s(shape);
  const auto ranks = static_cast<double>(c.workload.layout.context);
  if (ranks <= 1) return;
  // Keys and values go round a ring while attention runs (Liu et al. 2023, "Ring attention"); back with their
  // gradients.
  const double bytes = 2 * e.tokens * e.key_value * 2 * (ranks - 1);
  const double rate = c.network.ring_bytes_per_s({c.workload.layout.context, c.workload.layout.tensor});
  const double hidden = (ranks - 1) / ranks;
  constexpr double kTurn_s = 5e-6;
  block.forward.context_exchange = std::max(0.0, bytes / rate - hidden * block.forward.attention) + kTurn_s * ranks;
  block.backward_input.context_exchange =
      std::max(0.0, 2 * bytes / rate - hidden * block.backward_input.attention) + kTurn_s * ranks;
}

void add_pointwise(const CostContext& c, const Extents& e, BlockSeconds& block) {
  const double bytes = pointwise_bytes(e, c.profile);
  const double gap = c.profile.operation_gap_us * 1e-6;
  const double launches = 6 * c.device.bytes_s(0);
  block.forward.pointwise += c.device.bytes_inside_s(bytes) + launches + gap * kForwardOperations;
  block.backward_input.pointwise += c.device.bytes_inside_s(2 * bytes) + 2 * launches + gap * kBackwardOperations;
  if (c.device.precision() != Precision::kFloat8 && c.device.precision() != Precision::kFloat4) return;
  block.forward.pointwise += c.device.bytes_s(forward_copies(e));
  block.backward_input.pointwise += c.device.bytes_s(backward_copies(e));
}

// Two branches, each with a gather of tokens (or half an all_reduce) before it and a sum after it.
void add_tensor_exchange(const CostContext& c, const Extents& e, BlockSeconds& block) {
  const double once = c.network.all_gather_s({c.workload.layout.tensor, 1}, e.tokens * e.hidden * 2);
  const double exposed = 4 * once * (1 - c.profile.tensor_hidden);
  block.forward.tensor_exchange = exposed;
  // Divided tokens are gathered again for the weights' gradients.
  const bool gathers_again = c.profile.splits_tokens && c.profile.tensor_hidden > 0;
  block.backward_input.tensor_exchange = exposed * (gathers_again ? 1.25 : 1);
}

PassSeconds recomputed(const CostContext& c, const BlockSeconds& block) {
  PassSeconds again;
  switch (c.workload.layout.recompute) {
    case Recompute::kNone:
      break;
    case Recompute::kSelective:
      again.attention = block.forward.attention;
      if (c.profile.fused_attention) again.pointwise = block.forward.pointwise;
      // torchtitan's default saves every second product.
      if (c.profile.gathers_layers) again.products = block.forward.products / 2;
      break;
    case Recompute::kFull:
      again = block.forward;
      break;
  }
  return again;
}

}  // namespace

double exposed_seconds(const ImplementationProfile& profile, double moved, double compute) {
  return std::max(moved - compute, 0.0) + profile.contention * std::min(compute, moved);
}

namespace {

// Weights come before each pass and gradients go after it, beside the neighbouring layers' passes where they may.
void add_layer_gather(const CostContext& c, BlockSeconds& block) {
  const bool divided = c.profile.gathers_layers || c.workload.layout.zero >= 3;
  const std::int64_t ranks = c.workload.layout.data * c.workload.layout.context;
  if (!divided || ranks <= 1) return;
  const DeviceGroup group{ranks, c.workload.layout.tensor};
  const double parameters = block_parameters_of_rank(c.workload);
  const double gather = c.network.all_gather_s(group, parameters * 2);
  const double scatter =
      c.profile.gathers_layers ? c.network.reduce_scatter_s(group, parameters * c.profile.gradient_wire_bytes) : 0;
  const auto exposed = [&](double compute, double moved) {
    const bool hidden = c.profile.weights_hidden && c.workload.layout.zero <= c.profile.hidden_zero;
    return hidden ? exposed_seconds(c.profile, moved, compute) : moved;
  };
  block.forward.layer_gather = exposed(block.forward.total(), gather);
  const double backward = block.backward_input.total() + block.backward_weight.total() + block.recomputed.total();
  block.backward_input.layer_gather = exposed(backward, (c.workload.layout.zero == 2 ? 0 : gather) + scatter);
}

}  // namespace

PassSeconds& PassSeconds::operator+=(const PassSeconds& other) {
  products += other.products;
  attention += other.attention;
  pointwise += other.pointwise;
  tensor_exchange += other.tensor_exchange;
  context_exchange += other.context_exchange;
  layer_gather += other.layer_gather;
  return *this;
}

PassSeconds operator*(double count, const PassSeconds& pass) {
  return {.products = count * pass.products,
          .attention = count * pass.attention,
          .pointwise = count * pass.pointwise,
          .tensor_exchange = count * pass.tensor_exchange,
          .context_exchange = count * pass.context_exchange,
          .layer_gather = count * pass.layer_gather};
}

double block_parameters_of_rank(const Workload& w) {
  return w.model.block_parameters() / static_cast<double>(w.layout.tensor);
}

double table_parameters_of_rank(const Workload& w) {
  return w.model.table_parameters() / static_cast<double>(w.layout.tensor);
}

BlockSeconds block_seconds(const CostContext& c) {
  const Extents e(c.workload);
  BlockSeconds block;
  add_products(c, e, block);
  add_attention(c, e, block);
  add_pointwise(c, e, block);
  add_tensor_exchange(c, e, block);
  block.recomputed = recomputed(c, block);
  add_layer_gather(c, block);
  return block;
}

BlockSeconds head_seconds(const CostContext& c) {
  const Extents e(c.workload);
  const double vocab = static_cast<double>(c.workload.model.vocab) / e.tensor;
  const double slice = vocab / e.slices;
  BlockSeconds head;
  head.forward.products = e.slices * c.device.product_16_s({e.tokens, slice, e.hidden});
  head.backward_input.products = e.slices * c.device.product_16_s({e.tokens, e.hidden, slice});
  head.backward_weight.products = e.slices * c.device.product_16_s({slice, e.hidden, e.tokens});
  // Logits: written, read for the maximum and the sum, read and written as gradients; 4 bytes and 2.
  head.forward.pointwise = c.device.bytes_s(e.tokens * vocab * 8);
  head.backward_input.pointwise = c.device.bytes_s(e.tokens * vocab * 6);
  return head;
}

}  // namespace baekji
