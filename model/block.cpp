#include "model/block.h"

namespace baekji {

void BlockActivations::bind(const LayerContext& c, Arena& arena, const BlockActivations* shared) {
  attention.bind(c, arena, shared == nullptr ? nullptr : &shared->attention);
  feed_forward.bind(c, arena, shared == nullptr ? nullptr : &shared->feed_forward);
  middle_NC = arena.allocate("activations", c.types.residual, {c.local_tokens(), c.model.hidden});
}

void BlockGradients::bind(const LayerContext& c, Arena& arena, std::string_view category) {
  for (BranchGradients* branch : {&attention, &feed_forward}) {
    branch->dy_NC = arena.allocate(category, c.types.compute, {c.tokens(), c.model.hidden});
  }
  bind_inner(c, arena, category);
}

void BlockGradients::bind_inner(const LayerContext& c, Arena& arena, std::string_view category) {
  const ModelConfig& m = c.model;
  const std::int64_t grains = c.grains.map().grains();
  attention.dinner_NE = allocate_slices(c, arena, category, (m.heads + 2 * m.kv_heads) * m.head_width() / grains);
  feed_forward.dinner_NE = allocate_slices(c, arena, category, 2 * m.ffn / grains);
}

void Block::forward(const Attention::ForwardArgs& args, BlockActivations& a, Workspace& w) const {
  Attention::ForwardArgs attention = args;
  attention.y_NC = a.middle_NC;
  attention_.forward(attention, a.attention, w);
  feed_forward_.forward(a.middle_NC, args.y_NC, a.feed_forward, w);
}

void Block::recompute(const Attention::ForwardArgs& args, BlockActivations& a) const {
  attention_.recompute(args, a.attention);
  feed_forward_.recompute(a.middle_NC, a.feed_forward);
}

void Block::backward(const Attention::BackwardArgs& args, BlockActivations& a, BlockGradients& g, Workspace& w) const {
  feed_forward_.backward_input({.x_NC = a.middle_NC, .dx_NC = args.dx_NC}, a.feed_forward, g.feed_forward, w);
  feed_forward_.backward_weight(a.feed_forward, g.feed_forward, w);
  attention_.backward_input(args, a.attention, g.attention, w);
  attention_.backward_weight(a.attention, g.attention, w);
}

void Block::backward_input(const Attention::BackwardArgs& args, BlockActivations& a, BlockGradients& g,
                           Workspace& w) const {
  feed_forward_.backward_input({.x_NC = a.middle_NC, .dx_NC = args.dx_NC}, a.feed_forward, g.feed_forward, w);
  attention_.backward_input(args, a.attention, g.attention, w);
}

void Block::backward_weight(const BlockActivations& a, const BlockGradients& g, const Workspace& w) const {
  feed_forward_.backward_weight(a.feed_forward, g.feed_forward, w);
  attention_.backward_weight(a.attention, g.attention, w);
}

}  // namespace baekji
