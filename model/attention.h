#pragma once
// The attention branch of a block: norm, fused q/k/v projection, optional QK-norm, RoPE, attention, output projection.

#include <vector>

#include "model/layer_context.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/parameters.h"
#include "model/rope_table.h"
#include "parallel/stage.h"

namespace baekji {

/// Keys and values of the positions so far, for generation: one tensor per local slice.
struct KeyValueCache {
  std::vector<Tensor> k_PE;  ///< [positions, K D / G]
  std::vector<Tensor> v_PE;
};

/// What the backward pass of the branch needs.
struct AttentionActivations {
  Tensor rstd_N;                   ///< own tokens
  Tensor normed_NC;                ///< all tokens
  std::vector<Tensor> qkv_NE;      ///< by local slice: q, k, v columns; q and k rotated in place unless QK-norm is on
  std::vector<Tensor> rotated_NE;  ///< with QK-norm: normalised and rotated q, k columns
  std::vector<Tensor> q_rstd_NH;   ///< with QK-norm
  std::vector<Tensor> k_rstd_NK;
  std::vector<Tensor> heads_NE;  ///< attention output
  std::vector<Tensor> lse_BHT;
  Tensor branch_NC;  ///< with output norms: the projection before its norm, own tokens
  Tensor branch_rstd_N;

  /// What recompute() can make again comes from `shared` where that is not null.
  void bind(const LayerContext& c, Arena& arena, const AttentionActivations* shared);
};

class Attention {
 public:
  Attention(const LayerContext& context, const BlockGroups& groups, const RopeTable& rope);

  /// y = x + residual_multiplier * branch(x), own tokens of the residual stream. With a cache (one sequence) the keys
  /// and values are appended at `cached` positions and attention sees them all.
  struct ForwardArgs {
    MicroBatch batch;
    Tensor x_NC;
    Tensor y_NC;
    KeyValueCache* cache = nullptr;
    std::int64_t cached = 0;
  };
  void forward(const ForwardArgs& args, AttentionActivations& a, Workspace& w) const;

  /// Everything that bind() took from the shared activations, from what it did not.
  void recompute(const ForwardArgs& args, AttentionActivations& a) const;

  /// dx (own tokens, residual type) holds the gradient of y and becomes that of x. The gradients of the gains are
  /// accumulated; g is overwritten with what those of the matrices need.
  struct BackwardArgs {
    MicroBatch batch;
    Tensor x_NC;
    Tensor dx_NC;
  };
  void backward_input(const BackwardArgs& args, AttentionActivations& a, BranchGradients& g, Workspace& w) const;
  void backward_weight(const AttentionActivations& a, const BranchGradients& g, const Workspace& w) const;

 private:
  struct Heads {  // views of one slice
    Tensor q_NHD, k_NKD, v_NKD;
  };
  Heads split(const Tensor& qkv_NE) const;
  Heads attended(const AttentionActivations& a, std::size_t s) const;
  void normalise(const ForwardArgs& args, AttentionActivations& a) const;
  void rotate(const ForwardArgs& args, AttentionActivations& a, std::size_t s) const;
  void attend(const ForwardArgs& args, AttentionActivations& a, std::size_t s) const;
  struct Slice {  // the backward pass of one
    std::size_t s;
    Operand dy_NC;  // of the branch's output
  };
  void backward_slice(const BackwardArgs& args, AttentionActivations& a, BranchGradients& g, Workspace& w,
                      const Slice& slice) const;
  void backward_rope(const BackwardArgs& args, AttentionActivations& a, const Tensor& dqkv_NE, std::size_t s) const;

  const LayerContext& c_;
  BlockGroups groups_;
  const RopeTable& rope_;
  Linear qkv_;
  Linear output_;
  Norm norm_;
  Norm output_norm_;
  std::int64_t heads_;     // of one slice
  std::int64_t kv_heads_;  // of one slice
  std::int64_t d_;
};

}  // namespace baekji
