#include "kernels/cpu/rope.h"

#include "kernels/check.h"

namespace baekji::cpu {
namespace {

/// The rotation of one token: rows of the tables.
struct Angle {
  const float* cos;
  const float* sin;
};
Angle angle_of(const Tensor& position_N, const Tensor& cos_PE, const Tensor& sin_PE, std::int64_t n) {
  const std::int64_t position = position_N.as<std::int32_t>()[n];
  check_position(position, cos_PE.dim(0));
  return {row_of<float>(cos_PE, position), row_of<float>(sin_PE, position)};
}

// Pair i is read before it is written, so `to` may be `from`.
template <int Direction, class From, class To>
void rotate(const From* from, To* to, Angle angle, std::int64_t half) {
  const float* cos = angle.cos;
  const float* sin = angle.sin;
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = to_float(from[i]);
    const float b = to_float(from[i + half]);
    const float s = Direction < 0 ? -sin[i] : sin[i];
    to[i] = from_float<To>(a * cos[i] - b * s);
    to[i + half] = from_float<To>(b * cos[i] + a * s);
  }
}

template <class T>
void forward_rows(const RopeForwardArgs& args, std::int64_t begin, std::int64_t end) {
  const Tensor& x_NHD = args.x_NHD;
  const std::int64_t width = x_NHD.dim(2);
  const bool normalise = args.gain_D.defined();
  const T* gain = normalise ? args.gain_D.as<T>() : nullptr;
  const float eps = static_cast<float>(args.eps);
  std::vector<float> normalised(static_cast<std::size_t>(normalise ? width : 0));
  for (std::int64_t n = begin; n < end; ++n) {
    const Angle angle = angle_of(args.position_N, args.cos_PE, args.sin_PE, n);
    for (std::int64_t h = 0; h < x_NHD.dim(1); ++h) {
      const T* x = row_of<T>(x_NHD, n) + h * x_NHD.stride(1);
      T* y = row_of<T>(args.y_NHD, n) + h * args.y_NHD.stride(1);
      if (!normalise) {
        rotate<+1>(x, y, angle, width / 2);
        continue;
      }
      const float rstd = reciprocal_rms(x, width, eps);
      row_of<float>(args.rstd_NH, n)[h] = rstd;
      float* head = normalised.data();
      BAEKJI_INDEPENDENT
      for (std::int64_t i = 0; i < width; ++i) head[i] = to_float(x[i]) * rstd * to_float(gain[i]);
      rotate<+1>(static_cast<const float*>(head), y, angle, width / 2);
    }
  }
}

// dx of one normalised head from its un-rotated gradient; dgain += gradient * xhat.
template <class T>
void normalised_head_backward(const T* x, const T* gain, float rstd, const float* gradient, T* dx, float* dgain,
                              std::int64_t width) {
  const float dot = row_fold(
      width, [rstd](RowLanes d, RowLanes gains, RowLanes xs) { return (d * gains) * (xs * rstd); }, gradient, gain, x);
  const float mean = dot / static_cast<float>(width);
  BAEKJI_INDEPENDENT
  for (std::int64_t i = 0; i < width; ++i) {
    const float xhat = to_float(x[i]) * rstd;
    dgain[i] = dgain[i] + gradient[i] * xhat;
    dx[i] = from_float<T>(rstd * (gradient[i] * to_float(gain[i]) - xhat * mean));
  }
}

template <class T>
void backward_rows(const RopeBackwardArgs& args, std::int64_t begin, std::int64_t end, float* dgain) {
  const Tensor& dy_NHD = args.dy_NHD;
  const std::int64_t width = dy_NHD.dim(2);
  std::vector<float> unrotated(static_cast<std::size_t>(dgain == nullptr ? 0 : width));
  for (std::int64_t n = begin; n < end; ++n) {
    const Angle angle = angle_of(args.position_N, args.cos_PE, args.sin_PE, n);
    for (std::int64_t h = 0; h < dy_NHD.dim(1); ++h) {
      const T* dy = row_of<T>(dy_NHD, n) + h * dy_NHD.stride(1);
      T* dx = row_of<T>(args.dx_NHD, n) + h * args.dx_NHD.stride(1);
      if (dgain == nullptr) {
        rotate<-1>(dy, dx, angle, width / 2);
        continue;
      }
      rotate<-1>(dy, unrotated.data(), angle, width / 2);
      const T* x = row_of<T>(args.x_NHD, n) + h * args.x_NHD.stride(1);
      normalised_head_backward(x, args.gain_D.as<T>(), row_of<float>(args.rstd_NH, n)[h],
                               static_cast<const float*>(unrotated.data()), dx, dgain, width);
    }
  }
}

}  // namespace

void rope_forward(const RopeForwardArgs& args, ThreadPool& pool) {
  check_arguments(args);
  with_storage(args.x_NHD, "rope_forward", [&]<class T>(std::type_identity<T>) {
    pool.for_ranges(args.x_NHD.dim(0), rows_per_task(args.x_NHD.dim(1) * args.x_NHD.dim(2)),
                    [&](std::int64_t begin, std::int64_t end) { forward_rows<T>(args, begin, end); });
  });
}

void rope_backward(const RopeBackwardArgs& args, ThreadPool& pool, GainSums& sums) {
  check_arguments(args);
  const bool normalise = args.gain_D.defined();
  const std::int64_t rows = args.dy_NHD.dim(0);
  if (normalise) sums.prepare(rows, args.dy_NHD.dim(2));
  with_storage(args.dy_NHD, "rope_backward", [&]<class T>(std::type_identity<T>) {
    pool.for_ranges(rows, kRowBlock, [&](std::int64_t begin, std::int64_t end) {
      backward_rows<T>(args, begin, end, normalise ? sums.start_block(begin) : nullptr);
    });
  });
  if (normalise) sums.add_to(args.dgain_D, pool);
}

}  // namespace baekji::cpu
