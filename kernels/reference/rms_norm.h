#pragma once
// Reference RMSNorm, forward and backward.

#include <vector>

#include "kernels/check.h"
#include "kernels/reference/reduce.h"
#include "kernels/reference/scalar.h"

namespace baekji::reference {

/// rstd of one row: 1 / sqrt(mean of squares + eps).
template <class Scalar>
Scalar reciprocal_rms(std::span<const Scalar> x, double eps) {
  const Scalar mean = lane_dot(x, x) / static_cast<Scalar>(static_cast<double>(x.size()));
  return Scalar(1) / sqrt_of(mean + static_cast<Scalar>(eps));
}

/// A gain's gradient: sums over rows in fixed blocks (reduce.h). add() takes the rows in order; finish() ends the last
/// block and accumulates into the tensor.
template <class Scalar>
class GainGradient {
 public:
  explicit GainGradient(const Tensor& dgain) : dgain_(dgain), total_(read_row<Scalar>(dgain)), block_(total_.size()) {}

  /// block += terms, for a part of row `row` of the call.
  void add(std::int64_t row, const std::vector<Scalar>& terms) {
    if (row / kRowBlock != current_) flush();
    current_ = row / kRowBlock;
    for (std::size_t i = 0; i < block_.size(); ++i) block_[i] = block_[i] + terms[i];
  }
  void finish() {
    flush();
    write_row(dgain_, 0, total_);
  }

 private:
  void flush() {
    if (current_ < 0) return;
    for (std::size_t i = 0; i < block_.size(); ++i) {
      total_[i] = total_[i] + block_[i];
      block_[i] = Scalar(0);
    }
    current_ = -1;
  }

  Tensor dgain_;
  std::vector<Scalar> total_;
  std::vector<Scalar> block_;
  std::int64_t current_ = -1;
};

/// The gradient of one normalised row. With xhat = x * rstd and g = dy * gain: dx = rstd * (g - xhat * mean(g * xhat)).
/// `dgain_terms` receives dy * xhat.
template <class Scalar>
std::vector<Scalar> rms_norm_row_backward(const std::vector<Scalar>& x, const std::vector<Scalar>& gain, Scalar rstd,
                                          const std::vector<Scalar>& dy, std::vector<Scalar>& dgain_terms) {
  std::vector<Scalar> g(x.size());
  std::vector<Scalar> xhat(x.size());
  dgain_terms.resize(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    xhat[i] = x[i] * rstd;
    g[i] = dy[i] * gain[i];
    dgain_terms[i] = dy[i] * xhat[i];
  }
  const Scalar mean = lane_dot(std::span<const Scalar>(g), std::span<const Scalar>(xhat)) /
                      static_cast<Scalar>(static_cast<double>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) g[i] = rstd * (g[i] - xhat[i] * mean);
  return g;
}

template <class Scalar>
void rms_norm_forward(const RmsNormForwardArgs& args) {
  check_arguments(args);
  const std::int64_t width = args.x_NC.dim(1);
  const std::vector<Scalar> gain = read_row<Scalar>(args.gain_C);
  for (std::int64_t n = 0; n < args.x_NC.dim(0); ++n) {
    std::vector<Scalar> x = read_row<Scalar>(args.x_NC, n * args.x_NC.stride(0), width);
    const Scalar rstd = reciprocal_rms(std::span<const Scalar>(x), args.eps);
    args.rstd_N.as<Scalar>()[n] = rstd;
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = x[i] * rstd * gain[i];
    write_row(args.y_NC, n * args.y_NC.stride(0), x);
  }
}

template <class Scalar>
void rms_norm_backward(const RmsNormBackwardArgs& args) {
  check_arguments(args);
  const std::int64_t width = args.x_NC.dim(1);
  const std::vector<Scalar> gain = read_row<Scalar>(args.gain_C);
  GainGradient<Scalar> dgain(args.dgain_C);
  std::vector<Scalar> terms;
  for (std::int64_t n = 0; n < args.x_NC.dim(0); ++n) {
    const std::vector<Scalar> x = read_row<Scalar>(args.x_NC, n * args.x_NC.stride(0), width);
    const std::vector<Scalar> dy = read_row<Scalar>(args.dy_NC, n * args.dy_NC.stride(0), width);
    std::vector<Scalar> dx = rms_norm_row_backward(x, gain, args.rstd_N.as<Scalar>()[n], dy, terms);
    dgain.add(n, terms);
    const std::int64_t offset = n * args.dx_NC.stride(0);
    if (args.accumulate) {
      const std::vector<Scalar> old = read_row<Scalar>(args.dx_NC, offset, width);
      for (std::size_t i = 0; i < dx.size(); ++i) dx[i] = old[i] + dx[i];
    }
    write_row(args.dx_NC, offset, dx);
  }
  dgain.finish();
}

}  // namespace baekji::reference
