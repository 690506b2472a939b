#pragma once
// The elementary functions of the numerics contract. No libm: every result is fixed to the bit by IEEE basic operations
// in the order written here, the same in a vector body and its tail, on every machine and in any language.
//
// The float versions are for kernels (branch-free, so that compilers vectorise loops over them; std::fma only where
// written). What kernels on a GPU use is constexpr, which is how code for the device may call it. The double versions
// use no fma at all and are specified in docs/formats/genesis.md.

#include <bit>
#include <cmath>
#include <cstdint>

namespace baekji {

/// e^x in float, within 2 ulp. Below -87.33 the result is 0; above 88.37 it saturates near 2.4e38.
constexpr float exp_f32(float x) {
  constexpr float kLog2e = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;  // 10 bits: n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x < -87.33F ? -87.33F : (x > 88.37F ? 88.37F : x);
  const float shifted = std::fma(clamped, kLog2e, kRound);
  const float n = shifted - kRound;
  float r = std::fma(n, -kLn2High, clamped);
  r = std::fma(n, -kLn2Low, r);
  // Taylor-like minimax polynomial for e^r on |r| <= ln2 / 2 (the classic single-precision set of Cephes).
  float p = 1.9875691500e-4F;
  p = std::fma(p, r, 1.3981999507e-3F);
  p = std::fma(p, r, 8.3334519073e-3F);
  p = std::fma(p, r, 4.1665795894e-2F);
  p = std::fma(p, r, 1.6666665459e-1F);
  p = std::fma(p, r, 5.0000001201e-1F);
  p = std::fma(p, r * r, r);
  p = p + 1.0F;
  // The low bits of `shifted` hold n. Unsigned: what a NaN adds up to is thrown away below, but must not overflow.
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
  const float scaled = std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + exponent);
  return x < -87.33F ? 0.0F : (x != x ? x : scaled);
}

/// Natural logarithm in double, for finite x > 0 (normal numbers). No fma.
constexpr double log_f64(double x) {
  constexpr double kLn2High = 6.93147180369123816490e-01;
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  std::int64_t exponent = static_cast<std::int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFULL) | 0x3FF0000000000000ULL);
  if (m > 1.4142135623730951) {
    m = m * 0.5;
    exponent += 1;
  }
  // log(m) = 2 artanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716: the series to s^21 leaves less than 2^-60.
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 1.0 / 21.0;
  p = p * z + 1.0 / 19.0;
  p = p * z + 1.0 / 17.0;
  p = p * z + 1.0 / 15.0;
  p = p * z + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  p = p * z + 1.0;
  const double e = static_cast<double>(exponent);
  return e * kLn2High + (2.0 * s * p + e * kLn2Low);
}

/// e^x in double for |x| <= 700. No fma.
constexpr double exp_f64(double x) {
  constexpr double kLog2e = 1.4426950408889634;
  constexpr double kLn2High = 6.93147180369123816490e-01;
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  const double n = (x * kLog2e + kRound) - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  // Taylor series to r^14 / 14! on |r| <= ln2 / 2.
  double p = 1.0;
  for (int k = 14; k >= 1; --k) p = p * r / static_cast<double>(k) + 1.0;
  const std::uint64_t scale = static_cast<std::uint64_t>(static_cast<std::int64_t>(n) + 1023) << 52;
  return p * std::bit_cast<double>(scale);
}

/// sin and cos of x in double, for |x| <= 2^30. No fma. Reduction by pi/2 in three parts (Cody and Waite).
struct SinCos {
  double sin = 0;
  double cos = 1;
};
inline SinCos sin_cos_f64(double x) {
  constexpr double kTwoOverPi = 0.63661977236758134308;
  constexpr double kPart1 = 1.57079632673412561417e+00;  // 33 bits each
  constexpr double kPart2 = 6.07710050630396597660e-11;
  constexpr double kPart3 = 2.02226624879595063154e-21;
  constexpr double kRound = 6755399441055744.0;
  const double n = (x * kTwoOverPi + kRound) - kRound;
  const double r = ((x - n * kPart1) - n * kPart2) - n * kPart3;
  const double z = r * r;
  double s = 1.0;
  double c = 1.0;
  for (int k = 8; k >= 1; --k) {  // Taylor to r^17 and r^16 on |r| <= pi / 4
    s = 1.0 - s * z / static_cast<double>((2 * k) * (2 * k + 1));
    c = 1.0 - c * z / static_cast<double>((2 * k - 1) * (2 * k));
  }
  s = s * r;
  switch (static_cast<std::int64_t>(n) & 3) {
    case 0:
      return {s, c};
    case 1:
      return {c, -s};
    case 2:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

/// base^exponent in double for base > 0: exp(exponent * log(base)). No fma.
inline double pow_f64(double base, double exponent) {
  return exp_f64(exponent * log_f64(base));
}

/// base^n for n >= 0 by binary powering: n's bits from the lowest, one rounding per multiplication.
inline double power_f64(double base, std::int64_t n) {
  double result = 1.0;
  for (double square = base; n > 0; n >>= 1) {
    if ((n & 1) != 0) result = result * square;
    square = square * square;
  }
  return result;
}

}  // namespace baekji
