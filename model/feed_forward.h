#pragma once
// The feed-forward branch of a block: norm, fused gate/up projection, SwiGLU, down projection.

#include <vector>

#include "model/layer_context.h"
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

  void bind(const LayerContext& c, Arena& arena, std::string_view category);
};

class FeedForward {
 public:
  FeedForward(const LayerContext& context, const BlockGroups& groups);

  /// y = x + residual_multiplier * branch(x), own tokens of the residual stream.
  void forward(const Tensor& x_NC, const Tensor& y_NC, FeedForwardActivations& a, Workspace& w) const;
  /// dx (own tokens, residual type) holds the gradient of y and becomes that of x.
  void backward(const Tensor& x_NC, const Tensor& dx_NC, FeedForwardActivations& a, Workspace& w) const;

 private:
  void backward_slice(FeedForwardActivations& a, Workspace& w, std::size_t s) const;

  const LayerContext& c_;
  BlockGroups groups_;
  Norm norm_;
  Norm output_norm_;
  std::int64_t ffn_;  // of one slice
};

}  // namespace baekji
