#include "model/output_head.h"

#include <algorithm>

namespace baekji {
OutputHead::OutputHead(const LayerContext& context, const ModelParameters& parameters, std::int64_t loss_chunk)
    : c_(context),
      head_(parameters.head),
      contribution_(parameters.head_contribution),
      norm_(context, parameters.final_norm),
      chunk_(std::min(loss_chunk, context.tokens())),
      rows_(parameters.groups[parameters.head].members.front().logical.slice_rows()) {}

void OutputHead::bind(Arena& arena, bool training) {
  constexpr std::string_view kCategory = "logits and loss";
  const DType statistics = c_.types.accumulator;
  normed_NC_ = arena.allocate(kCategory, c_.types.compute, {c_.tokens(), c_.model.hidden});
  rstd_N_ = arena.allocate(kCategory, statistics, {c_.local_tokens()});
  for (std::int64_t s = 0; s < c_.slices(); ++s) {
    logits_NV_.push_back(arena.allocate(kCategory, statistics, {chunk_, rows_}));
    sums_N1_.push_back(arena.allocate(kCategory, statistics, {chunk_, 1}));
    if (!training) continue;
    const bool same = c_.types.compute == statistics;
    dlogits_NV_.push_back(same ? logits_NV_.back() : arena.allocate(kCategory, c_.types.compute, {chunk_, rows_}));
  }
  max_N_ = arena.allocate(kCategory, statistics, {chunk_});
  sum_N1_ = arena.allocate(kCategory, statistics, {chunk_, 1});
  target_logit_N_ = arena.allocate(kCategory, statistics, {chunk_});
  token_loss_N_ = arena.allocate(kCategory, statistics, {c_.tokens()});
}

std::int64_t OutputHead::columns(std::int64_t slice) const {
  return std::clamp<std::int64_t>(c_.model.vocab - first_row(slice), 0, rows_);
}

void OutputHead::normalise(const Tensor& x_NC) {
  norm_.forward(x_NC, c_.own_rows(normed_NC_), rstd_N_);
  c_.grains.gather_tokens(normed_NC_);
}

void OutputHead::forward_chunk(const MicroBatch& batch, std::int64_t begin, std::int64_t count) {
  const Tensor target_N = batch.target_BT.view({c_.tokens()}).rows(begin, count);
  const Tensor max_N = max_N_.rows(0, count);
  std::vector<Tensor> sums;
  for (std::int64_t s = 0; s < c_.slices(); ++s) {
    const Tensor logits = logits_NV_[static_cast<std::size_t>(s)].rows(0, count);
    c_.kernels.matmul({.a = normed_NC_.rows(begin, count),
                       .b = c_.parameters.weight(head_, s),
                       .c = logits,
                       .transpose_b = true,
                       .b_is_weight = true});
    c_.kernels.logits_max({.logits_NV = logits,
                           .max_N = max_N,
                           .combine = s > 0,
                           .columns = columns(s),
                           .logit_scale = c_.model.logits_multiplier});
    sums.push_back(sums_N1_[static_cast<std::size_t>(s)].rows(0, count));
  }
  c_.grains.largest_over_ranks(max_N);
  // One slice holds the target of a token: zeros elsewhere make its logit a sum over ranks.
  const Tensor target_logit_N = target_logit_N_.rows(0, count);
  c_.kernels.fill_zero(target_logit_N);
  for (std::int64_t s = 0; s < c_.slices(); ++s) {
    c_.kernels.logits_exp_sum({.logits_NV = logits_NV_[static_cast<std::size_t>(s)].rows(0, count),
                               .max_N = max_N,
                               .sum_N = sums[static_cast<std::size_t>(s)].view({count}),
                               .target_N = target_N,
                               .target_logit_N = target_logit_N,
                               .columns = columns(s),
                               .first_row = first_row(s)});
  }
  const Tensor sum_N1 = sum_N1_.rows(0, count);
  c_.kernels.tree_add({.leaves_NC = sums, .out_NC = sum_N1});
  c_.grains.add_over_ranks(sum_N1);
  c_.grains.add_over_ranks(target_logit_N.view({count, 1}));
  c_.kernels.token_loss(
      {.sum_N = sum_N1.view({count}), .target_logit_N = target_logit_N, .loss_N = token_loss_N_.rows(begin, count)});
}

void OutputHead::backward_chunk(const MicroBatch& batch, std::int64_t begin, std::int64_t count, Workspace& w) {
  for (std::int64_t s = 0; s < c_.slices(); ++s) {
    const auto slice = static_cast<std::size_t>(s);
    const Tensor dlogits = dlogits_NV_[slice].rows(0, count);
    c_.kernels.logits_gradient({.exp_NV = logits_NV_[slice].rows(0, count),
                                .sum_N = sum_N1_.rows(0, count).view({count}),
                                .target_N = batch.target_BT.view({c_.tokens()}).rows(begin, count),
                                .dlogits_NV = dlogits,
                                .columns = columns(s),
                                .first_row = first_row(s),
                                .logit_scale = c_.model.logits_multiplier});
    c_.kernels.matmul({.a = dlogits,
                       .b = c_.parameters.weight(head_, s),
                       .c = w.partial_NC[slice].rows(begin, count),
                       .b_is_weight = true});
    c_.kernels.matmul({.a = dlogits,
                       .b = normed_NC_.rows(begin, count),
                       .c = c_.parameters.gradient(head_, s, contribution_),
                       .transpose_a = true,
                       .accumulate = true});
  }
}

void OutputHead::fold_losses(const Tensor& loss_B) const {
  const std::int64_t sequences = loss_B.size();
  c_.kernels.sequence_loss({.loss_BT = token_loss_N_.view({sequences, c_.tokens() / sequences}), .sum_B = loss_B});
}

void OutputHead::evaluate(const MicroBatch& batch, const Tensor& x_NC, const Tensor& loss_B) {
  normalise(x_NC);
  for (std::int64_t begin = 0; begin < c_.tokens(); begin += chunk_) {
    forward_chunk(batch, begin, std::min(chunk_, c_.tokens() - begin));
  }
  fold_losses(loss_B);
}

void OutputHead::loss_and_gradient(const MicroBatch& batch, const Tensor& x_NC, const Tensor& dx_NC, Workspace& w,
                                   const Tensor& loss_B) {
  normalise(x_NC);
  for (std::int64_t begin = 0; begin < c_.tokens(); begin += chunk_) {
    const std::int64_t count = std::min(chunk_, c_.tokens() - begin);
    forward_chunk(batch, begin, count);
    backward_chunk(batch, begin, count, w);
  }
  c_.grains.reduce({.leaves_NC = w.partial_NC, .out_NC = w.branch_NC});
  norm_.backward({.x_NC = x_NC, .rstd_N = rstd_N_, .dy_NC = w.branch_NC, .dx_NC = dx_NC});
  fold_losses(loss_B);
}

void OutputHead::logits(const Tensor& x_NC, std::int64_t row, std::span<float> out_V) {
  normalise(x_NC);
  for (std::int64_t s = 0; s < c_.slices(); ++s) {
    const Tensor logits = logits_NV_[static_cast<std::size_t>(s)].rows(0, 1);
    c_.kernels.matmul({.a = normed_NC_.rows(row, 1),
                       .b = c_.parameters.weight(head_, s),
                       .c = logits,
                       .transpose_b = true,
                       .b_is_weight = true});
    c_.kernels.cast({.in = logits, .out = logits, .scale = c_.model.logits_multiplier});
    const Tensor wanted = logits.columns(0, columns(s));
    c_.kernels.download({.from = wanted, .to = out_V.data() + first_row(s)});
  }
}

}  // namespace baekji
