#include "model/layer_context.h"

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
}

}  // namespace baekji
