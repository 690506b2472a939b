// The elementary functions against libm, and loops that compilers vectorise against single calls.

#include "core/functions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

namespace baekji {
namespace {

/// Distance of `got` from the exact value in units of the last place of its type.
template <class T>
double ulps(T got, long double exact) {
  const int digits = std::numeric_limits<T>::digits;
  const int exponent = exact == 0 ? std::numeric_limits<T>::min_exponent : std::ilogb(exact) + 1;
  const long double unit = std::ldexp(1.0L, std::max(exponent, std::numeric_limits<T>::min_exponent) - digits);
  return static_cast<double>(std::fabs(static_cast<long double>(got) - exact) / unit);
}

TEST(Functions, ExpFloatWithinTwoUlp) {
  double worst = 0;
  for (int i = 0; i <= 1000000; ++i) {
    const float x = -87.3F + static_cast<float>(i) * (175.6F / 1000000.0F);
    worst = std::max(worst, ulps(exp_f32(x), std::exp(static_cast<long double>(x))));
  }
  std::printf("  exp_f32: largest error %.3f ulp on [-87.3, 88.3]\n", worst);
  EXPECT_LT(worst, 2.0);
  EXPECT_EQ(exp_f32(0.0F), 1.0F);
  EXPECT_EQ(exp_f32(-88.0F), 0.0F);
  EXPECT_EQ(exp_f32(-std::numeric_limits<float>::infinity()), 0.0F);
  EXPECT_TRUE(std::isnan(exp_f32(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_NEAR(exp_f32(1000.0F) / 2.4e38F, 1.0, 0.02) << "saturates";
}

TEST(Functions, ExpFloatVectorEqualsScalar) {
  std::vector<float> x;
  for (int i = 0; i < 4099; ++i) x.push_back(-100.0F + static_cast<float>(i) * 0.0479F);
  x[7] = std::numeric_limits<float>::quiet_NaN();
  x[8] = -std::numeric_limits<float>::infinity();
  for (const std::size_t size : {1U, 15U, 16U, 17U, 63U, 4099U}) {
    std::vector<float> y(size);
    for (std::size_t i = 0; i < size; ++i) y[i] = exp_f32(x[i]);  // vectorised, with a tail
    for (std::size_t i = 0; i < size; ++i) {
      float volatile argument = x[i];  // volatile: this one stays a single call
      const float alone = exp_f32(argument);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(y[i]), std::bit_cast<std::uint32_t>(alone)) << x[i];
    }
  }
}

TEST(Functions, DoubleFunctionsAgainstLibm) {
  double log_worst = 0, exp_worst = 0, sin_worst = 0, pow_worst = 0;
  for (int i = 1; i <= 100000; ++i) {
    const double t = static_cast<double>(i) / 100000.0;
    const double x = std::exp(1400.0 * (t - 0.5));
    log_worst = std::max(log_worst, ulps(log_f64(x), std::log(static_cast<long double>(x))));
    log_worst = std::max(log_worst, ulps(log_f64(t), std::log(static_cast<long double>(t))));
    const double e = 1400.0 * (t - 0.5);
    exp_worst = std::max(exp_worst, ulps(exp_f64(e), std::exp(static_cast<long double>(e))));
    const double angle = i < 50000 ? 100.0 * (t - 0.25) : t * 1048576.0;
    const SinCos sc = sin_cos_f64(angle);
    // Near a zero the error is held against one, as a rotation needs it: 2^-53 is an ulp there.
    const long double a = static_cast<long double>(angle);
    sin_worst =
        std::max({sin_worst, static_cast<double>(std::fabs(static_cast<long double>(sc.sin) - std::sin(a))) * 0x1p53,
                  static_cast<double>(std::fabs(static_cast<long double>(sc.cos) - std::cos(a))) * 0x1p53});
    pow_worst = std::max(pow_worst, static_cast<double>(std::fabs(static_cast<long double>(pow_f64(10000.0, -t)) /
                                                                      std::pow(10000.0L, -static_cast<long double>(t)) -
                                                                  1.0L)));
  }
  std::printf("  log_f64 %.2f ulp, exp_f64 %.2f ulp, sin/cos %.2f * 2^-53, pow_f64 relative %.1e\n", log_worst,
              exp_worst, sin_worst, pow_worst);
  EXPECT_LT(log_worst, 3.0);
  EXPECT_LT(exp_worst, 2.0);
  EXPECT_LT(sin_worst, 4.0);
  EXPECT_LT(pow_worst, 5e-15);
  EXPECT_EQ(log_f64(1.0), 0.0);
  EXPECT_EQ(exp_f64(0.0), 1.0);
  EXPECT_EQ(sin_cos_f64(0.0).sin, 0.0);
  EXPECT_EQ(sin_cos_f64(0.0).cos, 1.0);
}

TEST(Functions, DoubleLoopsEqualSingleCalls) {
  std::vector<double> x(1003), logs(1003), exps(1003), sines(1003);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.37 * static_cast<double>(i + 1);
  for (std::size_t i = 0; i < x.size(); ++i) {
    logs[i] = log_f64(x[i]);
    exps[i] = exp_f64(x[i]);
    sines[i] = sin_cos_f64(x[i]).sin;
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    double volatile argument = x[i];
    ASSERT_EQ(logs[i], log_f64(argument));
    ASSERT_EQ(exps[i], exp_f64(argument));
    ASSERT_EQ(sines[i], sin_cos_f64(argument).sin);
  }
}

TEST(Functions, PowersByHand) {
  EXPECT_EQ(power_f64(0.9, 0), 1.0);
  EXPECT_EQ(power_f64(0.5, 10), 0x1p-10);
  EXPECT_EQ(power_f64(3.0, 13), 1594323.0);
  EXPECT_NEAR(power_f64(0.999, 1000), std::pow(0.999, 1000), 1e-13);
}

}  // namespace
}  // namespace baekji
