#include "model/attention.h"

#include "model/residual.h"

namespace baekji {
namespace {

// [B T, ...] rows as [B, T, ...].
Tensor by_sequence(const Tensor& x_NHD, const BatchShape& shape) {
  return x_NHD.split_first(shape.sequences);
}

}  // namespace

void AttentionActivations::bind(const LayerContext& c, Arena& arena, const AttentionActivations* shared) {
  constexpr std::string_view kCategory = "activations";
  const ModelConfig& m = c.model;
  const std::int64_t grains = c.grains.map().grains();
  const std::int64_t d = m.head_width();
  const std::int64_t heads = m.heads / grains;
  const std::int64_t kv_heads = m.kv_heads / grains;
  const auto slices = [&](std::int64_t columns) { return allocate_slices(c, arena, kCategory, columns); };
  rstd_N = arena.allocate(kCategory, c.types.accumulator, {c.local_tokens()});
  normed_NC =
      shared != nullptr ? shared->normed_NC : arena.allocate(kCategory, c.types.compute, {c.tokens(), m.hidden});
  qkv_NE = slices((heads + 2 * kv_heads) * d);
  heads_NE = shared != nullptr ? shared->heads_NE : slices(heads * d);
  if (m.qk_norm) rotated_NE = shared != nullptr ? shared->rotated_NE : slices((heads + kv_heads) * d);
  for (std::int64_t s = 0; s < c.slices(); ++s) {
    lse_BHT.push_back(arena.allocate(kCategory, c.types.accumulator, {c.shape.sequences, heads, c.shape.context}));
    if (!m.qk_norm) continue;
    q_rstd_NH.push_back(arena.allocate(kCategory, c.types.accumulator, {c.tokens(), heads}));
    k_rstd_NK.push_back(arena.allocate(kCategory, c.types.accumulator, {c.tokens(), kv_heads}));
  }
  if (m.output_norms) {
    branch_NC = arena.allocate(kCategory, c.types.compute, {c.local_tokens(), m.hidden});
    branch_rstd_N = arena.allocate(kCategory, c.types.accumulator, {c.local_tokens()});
  }
}

Attention::Attention(const LayerContext& context, const BlockGroups& groups, const RopeTable& rope)
    : c_(context),
      groups_(groups),
      rope_(rope),
      qkv_(context, groups.qkv),
      output_(context, groups.attention_output),
      norm_(context, groups.attention_norm),
      output_norm_(context, groups.attention_output_norm),
      heads_(context.model.heads / context.grains.map().grains()),
      kv_heads_(context.model.kv_heads / context.grains.map().grains()),
      d_(context.model.head_width()) {}

Attention::Heads Attention::split(const Tensor& qkv_NE) const {
  return {.q_NHD = qkv_NE.columns(0, heads_ * d_).split_last(heads_),
          .k_NKD = qkv_NE.columns(heads_ * d_, kv_heads_ * d_).split_last(kv_heads_),
          .v_NKD = qkv_NE.columns((heads_ + kv_heads_) * d_, kv_heads_ * d_).split_last(kv_heads_)};
}

// What attention sees of a slice: with QK-norm, q and k after it.
Attention::Heads Attention::attended(const AttentionActivations& a, std::size_t s) const {
  Heads x = split(a.qkv_NE[s]);
  if (c_.model.qk_norm) {
    x.q_NHD = a.rotated_NE[s].columns(0, heads_ * d_).split_last(heads_);
    x.k_NKD = a.rotated_NE[s].columns(heads_ * d_, kv_heads_ * d_).split_last(kv_heads_);
  }
  return x;
}

void Attention::normalise(const ForwardArgs& args, AttentionActivations& a) const {
  norm_.forward(args.x_NC, c_.own_rows(a.normed_NC), a.rstd_N);
  c_.grains.gather_tokens(a.normed_NC);
}

void Attention::forward(const ForwardArgs& args, AttentionActivations& a, Workspace& w) const {
  normalise(args, a);
  const Operand normed_NC = w.operands.gathered.plain(a.normed_NC);
  for (std::size_t s = 0; s < a.qkv_NE.size(); ++s) {
    qkv_.forward(s, normed_NC, a.qkv_NE[s], w);
    rotate(args, a, s);
    attend(args, a, s);
    output_.forward(s, w.operands.slice.plain(a.heads_NE[s]), w.partial_NC[s], w);
  }
  join_residual(c_, {.leaves_NC = w.partial_NC,
                     .x_NC = args.x_NC,
                     .y_NC = args.y_NC,
                     .branch_NC = a.branch_NC,
                     .branch_rstd_N = a.branch_rstd_N,
                     .output_norm = &output_norm_});
}

void Attention::recompute(const ForwardArgs& args, AttentionActivations& a) const {
  normalise(args, a);
  for (std::size_t s = 0; s < a.qkv_NE.size(); ++s) {
    if (c_.model.qk_norm) rotate(args, a, s);  // else q and k were rotated where they stand
    attend(args, a, s);
  }
}

void Attention::rotate(const ForwardArgs& args, AttentionActivations& a, std::size_t s) const {
  const Heads x = split(a.qkv_NE[s]);
  const Tensor position_N = args.batch.position_BT.view({c_.tokens()});
  RopeForwardArgs q{.x_NHD = x.q_NHD,
                    .y_NHD = x.q_NHD,
                    .position_N = position_N,
                    .cos_PE = rope_.cos_PE,
                    .sin_PE = rope_.sin_PE,
                    .eps = c_.model.norm_eps};
  RopeForwardArgs k = q;
  k.x_NHD = x.k_NKD;
  k.y_NHD = x.k_NKD;
  if (c_.model.qk_norm) {
    q.y_NHD = a.rotated_NE[s].columns(0, heads_ * d_).split_last(heads_);
    q.gain_D = c_.parameters.weight(groups_.q_norm, 0);
    q.rstd_NH = a.q_rstd_NH[s];
    k.y_NHD = a.rotated_NE[s].columns(heads_ * d_, kv_heads_ * d_).split_last(kv_heads_);
    k.gain_D = c_.parameters.weight(groups_.k_norm, 0);
    k.rstd_NH = a.k_rstd_NK[s];
  }
  c_.kernels.rope_forward(q);
  c_.kernels.rope_forward(k);
}

void Attention::attend(const ForwardArgs& args, AttentionActivations& a, std::size_t s) const {
  Heads x = attended(a, s);
  if (args.cache != nullptr) {
    const std::int64_t rows = args.cached + c_.tokens();
    const Tensor& k = args.cache->k_PE[s];
    const Tensor& v = args.cache->v_PE[s];
    c_.kernels.cast({.in = x.k_NKD, .out = k.rows(args.cached, c_.tokens()).split_last(kv_heads_)});
    c_.kernels.cast({.in = x.v_NKD, .out = v.rows(args.cached, c_.tokens()).split_last(kv_heads_)});
    x.k_NKD = k.rows(0, rows).split_last(kv_heads_);
    x.v_NKD = v.rows(0, rows).split_last(kv_heads_);
  }
  c_.kernels.attention_forward(
      {.q_BTHD = by_sequence(x.q_NHD, c_.shape),
       .k_BTKD = by_sequence(x.k_NKD, c_.shape),
       .v_BTKD = by_sequence(x.v_NKD, c_.shape),
       .y_BTHD = by_sequence(a.heads_NE[s].split_last(heads_), c_.shape),
       .lse_BHT = a.lse_BHT[s],
       .first_BT = c_.model.document_mask && args.cache == nullptr ? args.batch.first_BT : Tensor(),
       .scale = c_.model.attention_scale()});
}

void Attention::backward_input(const BackwardArgs& args, AttentionActivations& a, BranchGradients& g,
                               Workspace& w) const {
  leave_residual(c_, {.dy_NC = args.dx_NC,
                      .full_NC = g.dy_NC,
                      .branch_NC = a.branch_NC,
                      .branch_rstd_N = a.branch_rstd_N,
                      .output_norm = &output_norm_});
  const Operand dy_NC = w.operands.gathered_gradient.plain(g.dy_NC);
  for (std::size_t s = 0; s < a.qkv_NE.size(); ++s) backward_slice(args, a, g, w, {.s = s, .dy_NC = dy_NC});
  c_.grains.reduce({.leaves_NC = w.partial_NC, .out_NC = w.branch_NC});
  norm_.backward(
      {.x_NC = args.x_NC, .rstd_N = a.rstd_N, .dy_NC = w.branch_NC, .dx_NC = args.dx_NC, .accumulate = true});
}

void Attention::backward_weight(const AttentionActivations& a, const BranchGradients& g, const Workspace& w) const {
  const Operand dy = w.operands.gathered_gradient.transposed(g.dy_NC);
  const Operand normed = w.operands.gathered.transposed(a.normed_NC);
  for (std::size_t s = 0; s < a.qkv_NE.size(); ++s) {
    output_.backward_weight(s, dy, w.operands.slice.transposed(a.heads_NE[s]));
    qkv_.backward_weight(s, w.operands.slice_gradient.transposed(g.dinner_NE[s]), normed);
  }
}

void Attention::backward_slice(const BackwardArgs& args, AttentionActivations& a, BranchGradients& g, Workspace& w,
                               const Slice& slice) const {
  const std::size_t s = slice.s;
  output_.backward_input(s, slice.dy_NC, w.dheads_NE[s], w);
  const Heads x = attended(a, s);
  const Heads dx = split(g.dinner_NE[s]);
  c_.kernels.attention_backward({.q_BTHD = by_sequence(x.q_NHD, c_.shape),
                                 .k_BTKD = by_sequence(x.k_NKD, c_.shape),
                                 .v_BTKD = by_sequence(x.v_NKD, c_.shape),
                                 .y_BTHD = by_sequence(a.heads_NE[s].split_last(heads_), c_.shape),
                                 .lse_BHT = a.lse_BHT[s],
                                 .first_BT = c_.model.document_mask ? args.batch.first_BT : Tensor(),
                                 .dy_BTHD = by_sequence(w.dheads_NE[s].split_last(heads_), c_.shape),
                                 .dq_BTHD = by_sequence(dx.q_NHD, c_.shape),
                                 .dk_BTKD = by_sequence(dx.k_NKD, c_.shape),
                                 .dv_BTKD = by_sequence(dx.v_NKD, c_.shape),
                                 .scale = c_.model.attention_scale()});
  backward_rope(args, a, g.dinner_NE[s], s);
  qkv_.backward_input(s, w.operands.slice_gradient.plain(g.dinner_NE[s]), w.partial_NC[s], w);
}

void Attention::backward_rope(const BackwardArgs& args, AttentionActivations& a, const Tensor& dqkv_NE,
                              std::size_t s) const {
  const std::int64_t slice = c_.grains.map().first() + static_cast<std::int64_t>(s);
  const Heads x = split(a.qkv_NE[s]);
  const Heads dx = split(dqkv_NE);
  RopeBackwardArgs q{.dy_NHD = dx.q_NHD,
                     .dx_NHD = dx.q_NHD,
                     .position_N = args.batch.position_BT.view({c_.tokens()}),
                     .cos_PE = rope_.cos_PE,
                     .sin_PE = rope_.sin_PE};
  RopeBackwardArgs k = q;
  k.dy_NHD = dx.k_NKD;
  k.dx_NHD = dx.k_NKD;
  if (c_.model.qk_norm) {
    q.x_NHD = x.q_NHD;
    q.gain_D = c_.parameters.weight(groups_.q_norm, 0);
    q.rstd_NH = a.q_rstd_NH[s];
    q.dgain_D = c_.parameters.gradient(groups_.q_norm, 0, slice);
    k.x_NHD = x.k_NKD;
    k.gain_D = c_.parameters.weight(groups_.k_norm, 0);
    k.rstd_NH = a.k_rstd_NK[s];
    k.dgain_D = c_.parameters.gradient(groups_.k_norm, 0, slice);
  }
  c_.kernels.rope_backward(q);
  c_.kernels.rope_backward(k);
}

}  // namespace baekji
