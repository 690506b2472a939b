#pragma once
// Reference rotary embedding, with the optional RMSNorm of each head before it (QK-norm).

#include <vector>

#include "kernels/check.h"
#include "kernels/reference/rms_norm.h"

namespace baekji::reference {

/// Rotates the pairs (i, i + D/2) by the angle of `position`; `direction` -1 rotates back (the transpose).
template <class Scalar>
void rotate(std::vector<Scalar>& head, const std::vector<Scalar>& cos, const std::vector<Scalar>& sin, int direction) {
  const std::size_t half = head.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const Scalar a = head[i];
    const Scalar b = head[i + half];
    const Scalar s = direction < 0 ? -sin[i] : sin[i];
    head[i] = a * cos[i] - b * s;
    head[i + half] = b * cos[i] + a * s;
  }
}

template <class Scalar>
void rope_forward(const RopeForwardArgs& args) {
  check_arguments(args);
  const Tensor& x_NHD = args.x_NHD;
  const bool normalise = args.gain_D.defined();
  const std::vector<Scalar> gain = normalise ? read_row<Scalar>(args.gain_D) : std::vector<Scalar>();
  for (std::int64_t n = 0; n < x_NHD.dim(0); ++n) {
    const std::int64_t position = args.position_N.as<std::int32_t>()[n];
    check_position(position, args.cos_PE.dim(0));
    const std::vector<Scalar> cos = read_row<Scalar>(args.cos_PE, position * args.cos_PE.stride(0), args.cos_PE.dim(1));
    const std::vector<Scalar> sin = read_row<Scalar>(args.sin_PE, position * args.sin_PE.stride(0), args.sin_PE.dim(1));
    for (std::int64_t h = 0; h < x_NHD.dim(1); ++h) {
      std::vector<Scalar> head = read_row<Scalar>(x_NHD, n * x_NHD.stride(0) + h * x_NHD.stride(1), x_NHD.dim(2));
      if (normalise) {
        const Scalar rstd = reciprocal_rms(std::span<const Scalar>(head), args.eps);
        args.rstd_NH.as<Scalar>()[n * args.rstd_NH.stride(0) + h] = rstd;
        for (std::size_t i = 0; i < head.size(); ++i) head[i] = head[i] * rstd * gain[i];
      }
      rotate(head, cos, sin, +1);
      write_row(args.y_NHD, n * args.y_NHD.stride(0) + h * args.y_NHD.stride(1), head);
    }
  }
}

template <class Scalar>
void rope_backward(const RopeBackwardArgs& args) {
  check_arguments(args);
  const Tensor& dy_NHD = args.dy_NHD;
  const Tensor& x_NHD = args.x_NHD;
  const bool normalise = args.gain_D.defined();
  const std::vector<Scalar> gain = normalise ? read_row<Scalar>(args.gain_D) : std::vector<Scalar>();
  std::vector<GainGradient<Scalar>> dgain;
  if (normalise) dgain.emplace_back(args.dgain_D);
  std::vector<Scalar> terms;
  for (std::int64_t n = 0; n < dy_NHD.dim(0); ++n) {
    const std::int64_t position = args.position_N.as<std::int32_t>()[n];
    check_position(position, args.cos_PE.dim(0));
    const std::vector<Scalar> cos = read_row<Scalar>(args.cos_PE, position * args.cos_PE.stride(0), args.cos_PE.dim(1));
    const std::vector<Scalar> sin = read_row<Scalar>(args.sin_PE, position * args.sin_PE.stride(0), args.sin_PE.dim(1));
    for (std::int64_t h = 0; h < dy_NHD.dim(1); ++h) {
      std::vector<Scalar> head = read_row<Scalar>(dy_NHD, n * dy_NHD.stride(0) + h * dy_NHD.stride(1), dy_NHD.dim(2));
      rotate(head, cos, sin, -1);
      if (normalise) {
        const std::vector<Scalar> x = read_row<Scalar>(x_NHD, n * x_NHD.stride(0) + h * x_NHD.stride(1), x_NHD.dim(2));
        const Scalar rstd = args.rstd_NH.as<Scalar>()[n * args.rstd_NH.stride(0) + h];
        head = rms_norm_row_backward(x, gain, rstd, head, terms);
        dgain.front().add(n, terms);
      }
      write_row(args.dx_NHD, n * args.dx_NHD.stride(0) + h * args.dx_NHD.stride(1), head);
    }
  }
  if (normalise) dgain.front().finish();
}

}  // namespace baekji::reference
