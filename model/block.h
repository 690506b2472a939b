#pragma once
// One transformer block: the attention branch, then the feed-forward branch.

#include "model/attention.h"
#include "model/feed_forward.h"

namespace baekji {

struct BlockActivations {
  AttentionActivations attention;
  FeedForwardActivations feed_forward;
  Tensor middle_NC;  ///< the residual stream between the branches, own tokens

  /// What Block::recompute() can make again comes from `shared` where that is not null.
  void bind(const LayerContext& c, Arena& arena, const BlockActivations* shared = nullptr);
};

/// What Block::backward_input() leaves for backward_weight().
struct BlockGradients {
  BranchGradients attention;
  BranchGradients feed_forward;

  void bind(const LayerContext& c, Arena& arena, std::string_view category);
  /// All but the gradients of the branches' outputs.
  void bind_inner(const LayerContext& c, Arena& arena, std::string_view category);
};

class Block {
 public:
  Block(const LayerContext& context, const BlockGroups& groups, const RopeTable& rope)
      : attention_(context, groups, rope), feed_forward_(context, groups) {}

  /// args.y is overwritten with the block's output; see Attention::ForwardArgs.
  void forward(const Attention::ForwardArgs& args, BlockActivations& a, Workspace& w) const;
  /// The shared activations again, from those that bind() took for the block alone. args.y is left as it is.
  void recompute(const Attention::ForwardArgs& args, BlockActivations& a) const;

  /// dx holds the gradient of the output and becomes that of x. `g` is overwritten; both its branches may be one
  /// memory.
  void backward(const Attention::BackwardArgs& args, BlockActivations& a, BlockGradients& g, Workspace& w) const;
  /// The same in two halves; `g` has memory for each branch and holds it in between.
  void backward_input(const Attention::BackwardArgs& args, BlockActivations& a, BlockGradients& g, Workspace& w) const;
  void backward_weight(const BlockActivations& a, const BlockGradients& g, const Workspace& w) const;

 private:
  Attention attention_;
  FeedForward feed_forward_;
};

}  // namespace baekji
