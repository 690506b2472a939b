#pragma once
// The feed-forward branch of a block: norm, fused gate/up projection, SwiGLU, down projection.

#include <vector>

#include "model/layer_context.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/parameters.h"

namespace baekji {

struct FeedForwardActivations {
  Tensor rstd_N;                   ///< own tokens
  Tensor normed_NC;                ///< all tokens
  std::vector<Tensor> gate_up_NE;  ///< by local slice: gate columns, then up columns
  std::vector<Tensor> act_NF;      ///< by local slice: silu(gate) * up
  Tensor branch_NC;                ///< with output norms
  Tensor branch_rstd_N;

  /// What recompute() can make again comes from `shared` where that is not null.
  void bind(const LayerContext& c, Arena& arena, const FeedForwardActivations* shared);
};

class FeedForward {
 public:
  FeedForward(const LayerContext& context, const BlockGroups& groups);

  /// y = x + residual_multiplier * branch(x), own tokens of the residual stream.
  void forward(const Tensor& x_NC, const Tensor& y_NC, FeedForwardActivations& a, Workspace& w) const;
  /// Everything that bind() took from the shared activations, from what it did not.
  void recompute(const Tensor& x_NC, FeedForwardActivations& a) const;

  /// dx (own tokens, residual type) holds the gradient of y and becomes that of x. The gradients of the gains are
  /// accumulated; g is overwritten with what those of the matrices need.
  struct BackwardArgs {
    Tensor x_NC;
    Tensor dx_NC;
  };
  void backward_input(const BackwardArgs& args, FeedForwardActivations& a, BranchGradients& g, Workspace& w) const;
  void backward_weight(const FeedForwardActivations& a, const BranchGradients& g, const Workspace& w) const;

 private:
  void normalise(const Tensor& x_NC, FeedForwardActivations& a) const;
  void activate(FeedForwardActivations& a, std::size_t s) const;
  struct Slice {  // the backward pass of one
    std::size_t s;
    Operand dy_NC;  // of the branch's output
  };
  void backward_slice(FeedForwardActivations& a, BranchGradients& g, Workspace& w, const Slice& slice) const;

  const LayerContext& c_;
  Linear gate_up_;
  Linear down_;
  Norm norm_;
  Norm output_norm_;
  std::int64_t ffn_;  // of one slice
};

}  // namespace baekji
