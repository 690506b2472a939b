#include "model/layer_context.h"

#include <algorithm>

namespace baekji {

void Workspace::bind(const LayerContext& c, Arena& arena, bool training) {
  constexpr std::string_view kCategory = "workspace";
  const ModelConfig& m = c.model;
  const std::int64_t grains = c.grains.map().grains();
  const std::int64_t d = m.head_width();
  partial_NC = allocate_slices(c, arena, kCategory, m.hidden);
  if (!training) return;
  dheads_NE = allocate_slices(c, arena, kCategory, m.heads * d / grains);
  dact_NF = allocate_slices(c, arena, kCategory, m.ffn / grains);
  // With one slice the tree's root is its leaf, so the branch needs no memory of its own.
  branch_NC = c.slices() == 1 ? c.own_rows(partial_NC[0])
                              : arena.allocate(kCategory, c.types.compute, {c.local_tokens(), m.hidden});
  full_NC = arena.allocate(kCategory, c.types.compute, {c.tokens(), m.hidden});
  if (c.types.float8_linear) bind_operands(c, arena);
}

void Workspace::bind_operands(const LayerContext& c, Arena& arena) {
  const ModelConfig& m = c.model;
  const std::int64_t grains = c.grains.map().grains();
  const std::int64_t heads = m.heads * m.head_width() / grains;
  const std::int64_t ffn = m.ffn / grains;
  const std::int64_t input = std::max(heads, ffn);
  const std::int64_t output = std::max(heads + 2 * m.kv_heads * m.head_width() / grains, 2 * ffn);
  const auto bind = [&](OperandBuffer& buffer, DType type, std::int64_t rows, std::int64_t columns) {
    buffer.bind(c.kernels, arena, type, rows * columns);
  };
  bind(operands.gathered, DType::kFloat8E4M3, c.tokens(), m.hidden);
  bind(operands.slice, DType::kFloat8E4M3, c.tokens(), input);
  bind(operands.gathered_gradient, DType::kFloat8E5M2, c.tokens(), m.hidden);
  bind(operands.slice_gradient, DType::kFloat8E5M2, c.tokens(), output);
  bind(operands.weight, DType::kFloat8E4M3, std::max(input, output), m.hidden);
}

}  // namespace baekji
