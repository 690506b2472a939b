#include "model/feed_forward.h"

#include "model/residual.h"

namespace baekji {

void FeedForwardActivations::bind(const LayerContext& c, Arena& arena, const FeedForwardActivations* shared) {
  constexpr std::string_view kCategory = "activations";
  const std::int64_t ffn = c.model.ffn / c.grains.map().grains();
  rstd_N = arena.allocate(kCategory, c.types.accumulator, {c.local_tokens()});
  normed_NC =
      shared != nullptr ? shared->normed_NC : arena.allocate(kCategory, c.types.compute, {c.tokens(), c.model.hidden});
  gate_up_NE = allocate_slices(c, arena, kCategory, 2 * ffn);
  act_NF = shared != nullptr ? shared->act_NF : allocate_slices(c, arena, kCategory, ffn);
  if (c.model.output_norms) {
    branch_NC = arena.allocate(kCategory, c.types.compute, {c.local_tokens(), c.model.hidden});
    branch_rstd_N = arena.allocate(kCategory, c.types.accumulator, {c.local_tokens()});
  }
}

FeedForward::FeedForward(const LayerContext& context, const BlockGroups& groups)
    : c_(context),
      gate_up_(context, groups.gate_up),
      down_(context, groups.down),
      norm_(context, groups.feed_forward_norm),
      output_norm_(context, groups.feed_forward_output_norm),
      ffn_(context.model.ffn / context.grains.map().grains()) {}

void FeedForward::normalise(const Tensor& x_NC, FeedForwardActivations& a) const {
  norm_.forward(x_NC, c_.own_rows(a.normed_NC), a.rstd_N);
  c_.grains.gather_tokens(a.normed_NC);
}

void FeedForward::activate(FeedForwardActivations& a, std::size_t s) const {
  c_.kernels.swiglu_forward(
      {.gate_NF = a.gate_up_NE[s].columns(0, ffn_), .up_NF = a.gate_up_NE[s].columns(ffn_, ffn_), .y_NF = a.act_NF[s]});
}

void FeedForward::recompute(const Tensor& x_NC, FeedForwardActivations& a) const {
  normalise(x_NC, a);
  for (std::size_t s = 0; s < a.act_NF.size(); ++s) activate(a, s);
}

void FeedForward::forward(const Tensor& x_NC, const Tensor& y_NC, FeedForwardActivations& a, Workspace& w) const {
  normalise(x_NC, a);
  const Operand normed_NC = w.operands.gathered.plain(a.normed_NC);
  for (std::size_t s = 0; s < a.act_NF.size(); ++s) {
    gate_up_.forward(s, normed_NC, a.gate_up_NE[s], w);
    activate(a, s);
    down_.forward(s, w.operands.slice.plain(a.act_NF[s]), w.partial_NC[s], w);
  }
  join_residual(c_, {.leaves_NC = w.partial_NC,
                     .x_NC = x_NC,
                     .y_NC = y_NC,
                     .branch_NC = a.branch_NC,
                     .branch_rstd_N = a.branch_rstd_N,
                     .output_norm = &output_norm_});
}

void FeedForward::backward_input(const BackwardArgs& args, FeedForwardActivations& a, BranchGradients& g,
                                 Workspace& w) const {
  leave_residual(c_, {.dy_NC = args.dx_NC,
                      .full_NC = g.dy_NC,
                      .branch_NC = a.branch_NC,
                      .branch_rstd_N = a.branch_rstd_N,
                      .output_norm = &output_norm_});
  const Operand dy_NC = w.operands.gathered_gradient.plain(g.dy_NC);
  for (std::size_t s = 0; s < a.act_NF.size(); ++s) backward_slice(a, g, w, {.s = s, .dy_NC = dy_NC});
  c_.grains.reduce({.leaves_NC = w.partial_NC, .out_NC = w.branch_NC});
  norm_.backward(
      {.x_NC = args.x_NC, .rstd_N = a.rstd_N, .dy_NC = w.branch_NC, .dx_NC = args.dx_NC, .accumulate = true});
}

void FeedForward::backward_weight(const FeedForwardActivations& a, const BranchGradients& g, const Workspace& w) const {
  const Operand dy = w.operands.gathered_gradient.transposed(g.dy_NC);
  const Operand normed = w.operands.gathered.transposed(a.normed_NC);
  for (std::size_t s = 0; s < a.act_NF.size(); ++s) {
    down_.backward_weight(s, dy, w.operands.slice.transposed(a.act_NF[s]));
    gate_up_.backward_weight(s, w.operands.slice_gradient.transposed(g.dinner_NE[s]), normed);
  }
}

void FeedForward::backward_slice(FeedForwardActivations& a, BranchGradients& g, Workspace& w,
                                 const Slice& slice) const {
  const std::size_t s = slice.s;
  down_.backward_input(s, slice.dy_NC, w.dact_NF[s], w);
  c_.kernels.swiglu_backward({.gate_NF = a.gate_up_NE[s].columns(0, ffn_),
                              .up_NF = a.gate_up_NE[s].columns(ffn_, ffn_),
                              .dy_NF = w.dact_NF[s],
                              .dgate_NF = g.dinner_NE[s].columns(0, ffn_),
                              .dup_NF = g.dinner_NE[s].columns(ffn_, ffn_)});
  gate_up_.backward_input(s, w.operands.slice_gradient.plain(g.dinner_NE[s]), w.partial_NC[s], w);
}

}  // namespace baekji
