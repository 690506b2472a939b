#include "kernels/cpu/rms_norm.h"

#include <algorithm>

#include "kernels/check.h"

namespace baekji::cpu {

void GainSums::prepare(std::int64_t rows, std::int64_t width) {
  blocks_ = ceil_div(rows, kRowBlock);
  width_ = width;
  const std::size_t needed = static_cast<std::size_t>(blocks_ * width_);
  if (sums_.size() < needed) sums_.resize(needed);
}

float* GainSums::start_block(std::int64_t row) {
  float* sums = sums_.data() + row / kRowBlock * width_;
  std::fill(sums, sums + width_, 0.0F);
  return sums;
}

void GainSums::add_to(const Tensor& dgain, ThreadPool& pool) const {
  float* total = dgain.as<float>();
  constexpr std::int64_t kColumns = 256;
  pool.for_ranges(width_, kColumns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = 0; b < blocks_; ++b) {
      const float* sums = sums_.data() + b * width_;
      BAEKJI_INDEPENDENT
      for (std::int64_t i = begin; i < end; ++i) total[i] = total[i] + sums[i];
    }
  });
}

namespace {

template <class X, class Y>
void forward_rows(const RmsNormForwardArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = args.x_NC.dim(1);
  const Y* gain = args.gain_C.as<Y>();
  float* rstd = args.rstd_N.as<float>();
  const float eps = static_cast<float>(args.eps);
  for (std::int64_t n = begin; n < end; ++n) {
    const X* x = row_of<X>(args.x_NC, n);
    Y* y = row_of<Y>(args.y_NC, n);
    const float r = reciprocal_rms(x, width, eps);
    rstd[n] = r;
    BAEKJI_INDEPENDENT
    for (std::int64_t i = 0; i < width; ++i) y[i] = from_float<Y>(to_float(x[i]) * r * to_float(gain[i]));
  }
}

template <bool Accumulate, class X, class Y>
void backward_row(const X* x, const Y* gain, float rstd, const Y* dy, X* dx, float* dgain, std::int64_t width) {
  const float dot = row_fold(
      width, [rstd](RowLanes dys, RowLanes gains, RowLanes xs) { return (dys * gains) * (xs * rstd); }, dy, gain, x);
  const float mean = dot / static_cast<float>(width);
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < width; ++i) {
    const float d = to_float(dy[i]);
    const float xhat = to_float(x[i]) * rstd;
    const float gradient = rstd * (d * to_float(gain[i]) - xhat * mean);
    dgain[i] = dgain[i] + d * xhat;
    dx[i] = from_float<X>(Accumulate ? to_float(dx[i]) + gradient : gradient);
  }
}

template <class X, class Y>
void backward_rows(const RmsNormBackwardArgs& args, std::int64_t begin, std::int64_t end, float* dgain) {
  const std::int64_t width = args.x_NC.dim(1);
  const Y* gain = args.gain_C.as<Y>();
  const float* rstd = args.rstd_N.as<float>();
  for (std::int64_t n = begin; n < end; ++n) {
    const X* x = row_of<X>(args.x_NC, n);
    const Y* dy = row_of<Y>(args.dy_NC, n);
    X* dx = row_of<X>(args.dx_NC, n);
    if (args.accumulate)
      backward_row<true>(x, gain, rstd[n], dy, dx, dgain, width);
    else
      backward_row<false>(x, gain, rstd[n], dy, dx, dgain, width);
  }
}

}  // namespace

void rms_norm_forward(const RmsNormForwardArgs& args, ThreadPool& pool) {
  check_arguments(args);
  with_storage(args.x_NC, "rms_norm_forward", [&]<class X>(std::type_identity<X>) {
    with_storage(args.y_NC, "rms_norm_forward", [&]<class Y>(std::type_identity<Y>) {
      pool.for_ranges(args.x_NC.dim(0), rows_per_task(args.x_NC.dim(1)),
                      [&](std::int64_t begin, std::int64_t end) { forward_rows<X, Y>(args, begin, end); });
    });
  });
}

void rms_norm_backward(const RmsNormBackwardArgs& args, ThreadPool& pool, GainSums& sums) {
  check_arguments(args);
  const std::int64_t rows = args.x_NC.dim(0);
  sums.prepare(rows, args.x_NC.dim(1));
  with_storage(args.x_NC, "rms_norm_backward", [&]<class X>(std::type_identity<X>) {
    with_storage(args.dy_NC, "rms_norm_backward", [&]<class Y>(std::type_identity<Y>) {
      pool.for_ranges(rows, kRowBlock, [&](std::int64_t begin, std::int64_t end) {
        backward_rows<X, Y>(args, begin, end, sums.start_block(begin));
      });
    });
  });
  sums.add_to(args.dgain_C, pool);
}

}  // namespace baekji::cpu
