#pragma once
// Reference cross-entropy in its passes over one chunk of tokens and one slice of the vocabulary.

#include <limits>
#include <vector>

#include "kernels/check.h"
#include "kernels/reference/reduce.h"
#include "kernels/reference/scalar.h"

namespace baekji::reference {

template <class Scalar>
void logits_max(const LogitsMaxArgs& args) {
  check_arguments(args);
  const Scalar scale = static_cast<Scalar>(args.logit_scale);
  for (std::int64_t n = 0; n < args.logits_NV.dim(0); ++n) {
    const std::int64_t offset = n * args.logits_NV.stride(0);
    std::vector<Scalar> row = read_row<Scalar>(args.logits_NV, offset, args.columns);
    Scalar& slot = args.max_N.as<Scalar>()[n];
    Scalar largest = args.combine ? slot : Scalar(-std::numeric_limits<float>::infinity());
    for (Scalar& logit : row) {
      logit = logit * scale;
      largest = real_of(logit) > real_of(largest) ? logit : largest;
    }
    write_row(args.logits_NV, offset, row);
    slot = largest + Scalar(0);  // one zero: which of -0 and +0 wins must not depend on the order of comparison
  }
}

template <class Scalar>
void logits_exp_sum(const LogitsExpSumArgs& args) {
  check_arguments(args);
  for (std::int64_t n = 0; n < args.logits_NV.dim(0); ++n) {
    const std::int64_t offset = n * args.logits_NV.stride(0);
    std::vector<Scalar> row = read_row<Scalar>(args.logits_NV, offset, args.columns);
    const Scalar largest = args.max_N.as<Scalar>()[n];
    const std::int64_t target = args.target_N.as<std::int32_t>()[n] - args.first_row;
    if (target >= 0 && target < args.columns) {
      args.target_logit_N.as<Scalar>()[n] = row[static_cast<std::size_t>(target)] - largest;
    }
    for (Scalar& logit : row) logit = exp_of(logit - largest);
    args.sum_N.as<Scalar>()[n] = lane_sum(std::span<const Scalar>(row));
    write_row(args.logits_NV, offset, row);
  }
}

template <class Scalar>
void logits_gradient(const LogitsGradientArgs& args) {
  check_arguments(args);
  const Scalar scale = static_cast<Scalar>(args.logit_scale);
  for (std::int64_t n = 0; n < args.exp_NV.dim(0); ++n) {
    std::vector<Scalar> row = read_row<Scalar>(args.exp_NV, n * args.exp_NV.stride(0), args.columns);
    const Scalar sum = args.sum_N.as<Scalar>()[n];
    const std::int64_t target = args.target_N.as<std::int32_t>()[n] - args.first_row;
    for (std::size_t v = 0; v < row.size(); ++v) {
      const Scalar onehot = static_cast<std::int64_t>(v) == target ? Scalar(1) : Scalar(0);
      row[v] = (row[v] / sum - onehot) * scale;
    }
    row.resize(static_cast<std::size_t>(args.dlogits_NV.dim(1)));  // padding: zeros
    write_row(args.dlogits_NV, n * args.dlogits_NV.stride(0), row);
  }
}

template <class Scalar>
void token_loss(const TokenLossArgs& args) {
  check_arguments(args);
  for (std::int64_t n = 0; n < args.sum_N.dim(0); ++n) {
    args.loss_N.as<Scalar>()[n] = log_of(args.sum_N.as<Scalar>()[n]) - args.target_logit_N.as<Scalar>()[n];
  }
}

template <class Scalar>
void sequence_loss(const SequenceLossArgs& args) {
  check_arguments(args);
  const Scalar* loss = args.loss_BT.as<Scalar>();
  double* sum = args.sum_B.as<double>();
  for (std::int64_t b = 0; b < args.loss_BT.dim(0); ++b) {
    sum[b] = 0;
    for (std::int64_t t = 0; t < args.loss_BT.dim(1); ++t) sum[b] += static_cast<double>(real_of(*loss++));
  }
}

}  // namespace baekji::reference
