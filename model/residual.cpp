#include "model/residual.h"

namespace baekji {

void join_residual(const LayerContext& c, const JoinArgs& args) {
  const double multiplier = c.model.residual_multiplier;
  if (!c.model.output_norms) {
    c.grains.reduce({.leaves_NC = args.leaves_NC, .out_NC = args.y_NC, .residual_NC = args.x_NC, .scale = multiplier});
    return;
  }
  c.grains.reduce({.leaves_NC = args.leaves_NC, .out_NC = args.branch_NC});
  // The leaves are spent: the first one takes the normalised branch.
  const Tensor normed = c.own_rows(args.leaves_NC[0]);
  args.output_norm->forward(args.branch_NC, normed, args.branch_rstd_N);
  c.kernels.tree_add(
      {.leaves_NC = std::span(&normed, 1), .out_NC = args.y_NC, .residual_NC = args.x_NC, .scale = multiplier});
}

void leave_residual(const LayerContext& c, const LeaveArgs& args) {
  const Tensor own = c.own_rows(args.full_NC);
  c.kernels.cast({.in = args.dy_NC, .out = own, .scale = c.model.residual_multiplier});
  if (c.model.output_norms) {
    args.output_norm->backward({.x_NC = args.branch_NC, .rstd_N = args.branch_rstd_N, .dy_NC = own, .dx_NC = own});
  }
  c.grains.gather_tokens(args.full_NC);
}

}  // namespace baekji
