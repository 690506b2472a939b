#pragma once
// Where a branch leaves the residual stream and joins it again: the grain tree, the residual multiplier, and the
// optional output norm (Peri-LN, Kim et al. 2025).

#include <span>

#include "model/layer_context.h"
#include "model/norm.h"

namespace baekji {

struct JoinArgs {
  std::span<const Tensor> leaves_NC;  ///< by local slice, all tokens
  Tensor x_NC;                        ///< the stream before the branch, own tokens
  Tensor y_NC;                        ///< the stream after it
  Tensor branch_NC;                   ///< with output norms: overwritten with the branch before its norm
  Tensor branch_rstd_N;
  const Norm* output_norm = nullptr;
};
/// y = x + residual_multiplier * [norm](tree(leaves)).
void join_residual(const LayerContext& c, const JoinArgs& args);

struct LeaveArgs {
  Tensor dy_NC;    ///< gradient of the stream after the branch, own tokens, residual type; unchanged
  Tensor full_NC;  ///< overwritten: gradient of tree(leaves), all tokens, compute type
  Tensor branch_NC;
  Tensor branch_rstd_N;
  const Norm* output_norm = nullptr;
};
/// The gradient that enters the branch.
void leave_residual(const LayerContext& c, const LeaveArgs& args);

}  // namespace baekji
