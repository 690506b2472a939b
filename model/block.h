#pragma once
// One transformer block: the attention branch, then the feed-forward branch.

#include "model/attention.h"
#include "model/feed_forward.h"

namespace baekji {

struct BlockActivations {
  AttentionActivations attention;
  FeedForwardActivations feed_forward;
  Tensor middle_NC;  ///< the residual stream between the branches, own tokens

  void bind(const LayerContext& c, Arena& arena, std::string_view category) {
    attention.bind(c, arena, category);
    feed_forward.bind(c, arena, category);
    middle_NC = arena.allocate(category, c.types.residual, {c.local_tokens(), c.model.hidden});
  }
};

class Block {
 public:
  Block(const LayerContext& context, const BlockGroups& groups, const RopeTable& rope)
      : attention_(context, groups, rope), feed_forward_(context, groups) {}

  /// args.y is overwritten with the block's output; see Attention::ForwardArgs.
  void forward(const Attention::ForwardArgs& args, BlockActivations& a, Workspace& w) const {
    Attention::ForwardArgs attention = args;
    attention.y_NC = a.middle_NC;
    attention_.forward(attention, a.attention, w);
    feed_forward_.forward(a.middle_NC, args.y_NC, a.feed_forward, w);
  }

  /// dx holds the gradient of the output and becomes that of x.
  void backward(const Attention::BackwardArgs& args, BlockActivations& a, Workspace& w) const {
    feed_forward_.backward(a.middle_NC, args.dx_NC, a.feed_forward, w);
    attention_.backward(args, a.attention, w);
  }

 private:
  Attention attention_;
  FeedForward feed_forward_;
};

}  // namespace baekji
