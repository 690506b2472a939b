#pragma once
// What the reference kernels need of their scalar type: elementary functions, an order by the real part, and rows of
// tensors read into and written from vectors of it.
//
// Complex scalars serve complex-step differentiation (Squire and Trapp 1998): nothing here conjugates or takes an
// absolute value, so every operation stays analytic. What kernels on a GPU use is constexpr, in fp32
// (core/functions.h).

#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/functions.h"
#include "core/tensor.h"

namespace baekji::reference {

constexpr float exp_of(float x) {
  return exp_f32(x);
}
inline double exp_of(double x) {
  return std::exp(x);
}
inline Complex exp_of(Complex x) {
  return std::exp(x);
}

/// log of a sum of exponentials. log_f64 serves finite positive numbers only; the others give what IEEE would, so that
/// a NaN among the logits stays visible in the loss.
constexpr float log_of(float x) {
  if (x > 0.0F && x <= std::numeric_limits<float>::max()) return static_cast<float>(log_f64(static_cast<double>(x)));
  if (x == 0.0F) return -std::numeric_limits<float>::infinity();
  return x > 0.0F ? x : std::numeric_limits<float>::quiet_NaN();
}
inline double log_of(double x) {
  return std::log(x);
}
inline Complex log_of(Complex x) {
  return std::log(x);
}

inline float sqrt_of(float x) {
  return std::sqrt(x);
}
inline double sqrt_of(double x) {
  return std::sqrt(x);
}
inline Complex sqrt_of(Complex x) {
  return std::sqrt(x);
}

constexpr float real_of(float x) {
  return x;
}
inline double real_of(double x) {
  return x;
}
inline double real_of(Complex x) {
  return x.real();
}

/// a * b + c; in one rounding for real scalars, as matrix units do it. Only matmul uses it.
inline float multiply_add(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline double multiply_add(double a, double b, double c) {
  return std::fma(a, b, c);
}
inline Complex multiply_add(Complex a, Complex b, Complex c) {
  return a * b + c;
}

/// 1 / (1 + e^-x), through e^-|x| so that nothing overflows.
template <class Scalar>
constexpr Scalar sigmoid_of(Scalar x) {
  const bool negative = real_of(x) < 0;
  const Scalar e = exp_of(negative ? x : -x);
  return (negative ? e : Scalar(1)) / (Scalar(1) + e);
}

template <class Element>
std::vector<float> widened(const Tensor& tensor, std::int64_t offset, std::int64_t count) {
  const Element* from = tensor.as<Element>() + offset;
  std::vector<float> row(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(from[i]);
  return row;
}

/// `count` elements from `offset` on, widened to Scalar. Scalar float reads fp32, bf16 and the 8-bit types, the others
/// only themselves.
template <class Scalar>
std::vector<Scalar> read_row(const Tensor& tensor, std::int64_t offset, std::int64_t count) {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (tensor.type() == DType::kBfloat16) return widened<Bfloat16>(tensor, offset, count);
    if (tensor.type() == DType::kFloat8E4M3) return widened<Float8E4M3>(tensor, offset, count);
    if (tensor.type() == DType::kFloat8E5M2) return widened<Float8E5M2>(tensor, offset, count);
  }
  const Scalar* from = tensor.as<Scalar>() + offset;
  return std::vector<Scalar>(from, from + count);
}

template <class Scalar>
std::vector<Scalar> read_row(const Tensor& tensor) {
  return read_row<Scalar>(tensor, 0, tensor.size());
}

/// The inverse of read_row: one rounding for each element.
template <class Scalar>
void write_row(const Tensor& tensor, std::int64_t offset, const std::vector<Scalar>& row) {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (tensor.type() == DType::kBfloat16) {
      Bfloat16* to = tensor.as<Bfloat16>() + offset;
      for (std::size_t i = 0; i < row.size(); ++i) to[i] = Bfloat16(row[i]);
      return;
    }
  }
  Scalar* to = tensor.as<Scalar>() + offset;
  for (std::size_t i = 0; i < row.size(); ++i) to[i] = row[i];
}

}  // namespace baekji::reference
