#pragma once
// Reference attention: one query at a time, two passes over its keys. Sums over keys are left folds in key order.

#include <vector>

#include "kernels/check.h"
#include "kernels/reference/reduce.h"
#include "kernels/reference/scalar.h"

namespace baekji::reference {

namespace detail {

/// The visible keys [first, end) of query `t` in sequence `b`.
struct KeyRange {
  std::int64_t first = 0;
  std::int64_t end = 0;
};
inline KeyRange visible_keys(const Tensor& first_BT, std::int64_t b, std::int64_t t, std::int64_t queries,
                             std::int64_t keys) {
  const std::int64_t end = t + (keys - queries) + 1;
  const std::int64_t first = first_BT.defined() ? first_BT.as<std::int32_t>()[b * first_BT.stride(0) + t] : 0;
  if (first < 0 || first >= end) {
    throw Error("a query must see at least its own key")
        .values(fmt::format("first key in 0..{}", end - 1), fmt::format("{}", first))
        .at(fmt::format("attention, sequence {}, query {}", b, t));
  }
  return {first, end};
}

/// Head `h` of row (b, t) of a [B, T, heads, D] tensor.
inline std::int64_t head_offset(const Tensor& x, std::int64_t b, std::int64_t t, std::int64_t h) {
  return b * x.stride(0) + t * x.stride(1) + h * x.stride(2);
}

/// All rows of one head of one sequence.
template <class Scalar>
std::vector<std::vector<Scalar>> read_head(const Tensor& x, std::int64_t b, std::int64_t h) {
  std::vector<std::vector<Scalar>> rows;
  for (std::int64_t t = 0; t < x.dim(1); ++t) rows.push_back(read_row<Scalar>(x, head_offset(x, b, t, h), x.dim(3)));
  return rows;
}
template <class Scalar>
void write_head(const Tensor& x, std::int64_t b, std::int64_t h, const std::vector<std::vector<Scalar>>& rows) {
  for (std::int64_t t = 0; t < x.dim(1); ++t) write_row(x, head_offset(x, b, t, h), rows[static_cast<std::size_t>(t)]);
}

template <class Scalar>
Scalar dot(const std::vector<Scalar>& a, const std::vector<Scalar>& b) {
  return lane_dot(std::span<const Scalar>(a), std::span<const Scalar>(b));
}

/// to += factor * from.
template <class Scalar>
void add_scaled(std::vector<Scalar>& to, Scalar factor, const std::vector<Scalar>& from) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = to[i] + factor * from[i];
}

}  // namespace detail

template <class Scalar>
void attention_forward(const AttentionForwardArgs& args) {
  check_arguments(args);
  const Tensor& q_BTHD = args.q_BTHD;
  const std::int64_t keys = args.k_BTKD.dim(1);
  const std::int64_t group = q_BTHD.dim(2) / args.k_BTKD.dim(2);
  const Scalar scale = static_cast<Scalar>(args.scale);
  for (std::int64_t b = 0; b < q_BTHD.dim(0); ++b) {
    for (std::int64_t h = 0; h < q_BTHD.dim(2); ++h) {
      const auto k = detail::read_head<Scalar>(args.k_BTKD, b, h / group);
      const auto v = detail::read_head<Scalar>(args.v_BTKD, b, h / group);
      for (std::int64_t t = 0; t < q_BTHD.dim(1); ++t) {
        const detail::KeyRange range = detail::visible_keys(args.first_BT, b, t, q_BTHD.dim(1), keys);
        const std::vector<Scalar> q = read_row<Scalar>(q_BTHD, detail::head_offset(q_BTHD, b, t, h), q_BTHD.dim(3));
        std::vector<Scalar> p;
        for (std::int64_t j = range.first; j < range.end; ++j)
          p.push_back(scale * detail::dot(q, k[static_cast<std::size_t>(j)]));
        Scalar largest = p.front();
        for (const Scalar s : p) largest = real_of(s) > real_of(largest) ? s : largest;
        Scalar sum(0);
        for (Scalar& s : p) {
          s = exp_of(s - largest);
          sum = sum + s;
        }
        std::vector<Scalar> y(q.size());
        for (std::size_t j = 0; j < p.size(); ++j)
          detail::add_scaled(y, p[j], v[static_cast<std::size_t>(range.first) + j]);
        for (Scalar& value : y) value = value / sum;
        write_row(args.y_BTHD, detail::head_offset(args.y_BTHD, b, t, h), y);
        args.lse_BHT.as<Scalar>()[b * args.lse_BHT.stride(0) + h * args.lse_BHT.stride(1) + t] = largest + log_of(sum);
      }
    }
  }
}

/// With p = exp(scale q.k - lse), delta = dy.y and ds = p (dy.v - delta) scale: dq = sum ds k, dk = sum ds q, dv = sum
/// p dy (Dao et al. 2022, "FlashAttention", appendix B).
template <class Scalar>
void attention_backward(const AttentionBackwardArgs& args) {
  check_arguments(args);
  const Tensor& q_BTHD = args.q_BTHD;
  const std::int64_t keys = args.k_BTKD.dim(1);
  const std::int64_t kv_heads = args.k_BTKD.dim(2);
  const std::int64_t group = q_BTHD.dim(2) / kv_heads;
  const Scalar scale = static_cast<Scalar>(args.scale);
  const std::size_t width = static_cast<std::size_t>(q_BTHD.dim(3));
  for (std::int64_t b = 0; b < q_BTHD.dim(0); ++b) {
    for (std::int64_t kv = 0; kv < kv_heads; ++kv) {
      const auto k = detail::read_head<Scalar>(args.k_BTKD, b, kv);
      const auto v = detail::read_head<Scalar>(args.v_BTKD, b, kv);
      std::vector<std::vector<Scalar>> dk(k.size(), std::vector<Scalar>(width));
      std::vector<std::vector<Scalar>> dv(k.size(), std::vector<Scalar>(width));
      for (std::int64_t h = kv * group; h < (kv + 1) * group; ++h) {
        const auto q = detail::read_head<Scalar>(q_BTHD, b, h);
        const auto y = detail::read_head<Scalar>(args.y_BTHD, b, h);
        const auto dy = detail::read_head<Scalar>(args.dy_BTHD, b, h);
        std::vector<std::vector<Scalar>> dq(q.size(), std::vector<Scalar>(width));
        for (std::size_t t = 0; t < q.size(); ++t) {
          const std::int64_t row = static_cast<std::int64_t>(t);
          const detail::KeyRange range = detail::visible_keys(args.first_BT, b, row, q_BTHD.dim(1), keys);
          const Scalar lse = args.lse_BHT.as<Scalar>()[b * args.lse_BHT.stride(0) + h * args.lse_BHT.stride(1) + row];
          const Scalar delta = detail::dot(dy[t], y[t]);
          for (std::size_t j = static_cast<std::size_t>(range.first); j < static_cast<std::size_t>(range.end); ++j) {
            const Scalar p = exp_of(scale * detail::dot(q[t], k[j]) - lse);
            const Scalar ds = p * (detail::dot(dy[t], v[j]) - delta) * scale;
            detail::add_scaled(dq[t], ds, k[j]);
            detail::add_scaled(dk[j], ds, q[t]);
            detail::add_scaled(dv[j], p, dy[t]);
          }
        }
        detail::write_head(args.dq_BTHD, b, h, dq);
      }
      detail::write_head(args.dk_BTKD, b, kv, dk);
      detail::write_head(args.dv_BTKD, b, kv, dv);
    }
  }
}

}  // namespace baekji::reference
