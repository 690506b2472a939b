// 8-bit floats, all codes there and back, against a computation in fp64 that knows the formats from their definition
// only: sign, exponent with its bias, fraction (OCP 8-bit floating point specification, revision 1.0).

#include "core/float8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace baekji {
namespace {

struct Format {
  int fraction_bits = 0;
  int bias = 0;
  double largest = 0;
  bool has_infinity = false;
};
template <class T>
Format format_of() {
  if (std::is_same_v<T, Float8E4M3>) return {.fraction_bits = 3, .bias = 7, .largest = 448, .has_infinity = false};
  return {.fraction_bits = 2, .bias = 15, .largest = 57344, .has_infinity = true};
}

double decoded(const Format& f, int code) {
  const int magnitude = code & 0x7F;
  const int exponent = magnitude >> f.fraction_bits;
  const int fraction = magnitude & ((1 << f.fraction_bits) - 1);
  const int last = (1 << (7 - f.fraction_bits)) - 1;
  const double sign = (code & 0x80) != 0 ? -1 : 1;
  if (f.has_infinity && exponent == last) return fraction == 0 ? sign * HUGE_VAL : std::nan("");
  if (!f.has_infinity && magnitude == 0x7F) return std::nan("");
  const double leading = exponent == 0 ? 0 : 1;
  return sign * std::ldexp(leading + std::ldexp(fraction, -f.fraction_bits), std::max(exponent, 1) - f.bias);
}

// The nearest finite value, by search; of two equally near ones that with an even code. Codes order magnitudes.
int nearest_code(const Format& f, double value) {
  const double magnitude = std::min(std::fabs(value), 2 * f.largest);  // far away, differences would lose their bits
  int best = 0;
  for (int code = 1; code < 0x7F && std::fabs(decoded(f, code)) <= f.largest; ++code) {
    const double now = std::fabs(magnitude - decoded(f, code));
    const double before = std::fabs(magnitude - decoded(f, best));
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  return best | (std::signbit(value) ? 0x80 : 0);
}

template <class T>
class Float8Types : public ::testing::Test {};
using Types = ::testing::Types<Float8E4M3, Float8E5M2>;
TYPED_TEST_SUITE(Float8Types, Types);

template <class T>
T from_bits(int code) {
  T value;
  value.bits = static_cast<std::uint8_t>(code);
  return value;
}

TYPED_TEST(Float8Types, AllCodesThereAndBack) {
  const Format f = format_of<TypeParam>();
  EXPECT_EQ(TypeParam::largest(), f.largest);
  int finite = 0;
  for (int code = 0; code < 256; ++code) {
    const float value = static_cast<float>(from_bits<TypeParam>(code));
    const double want = decoded(f, code);
    if (std::isnan(want)) {
      EXPECT_TRUE(std::isnan(value)) << code;
      EXPECT_TRUE(std::isnan(static_cast<float>(TypeParam(value)))) << code;
      continue;
    }
    EXPECT_EQ(value, want) << code;
    EXPECT_EQ(std::signbit(value), code >= 0x80) << code;
    if (!std::isfinite(want)) continue;  // the way back saturates
    ++finite;
    EXPECT_EQ(TypeParam(value).bits, code);
  }
  EXPECT_EQ(finite, f.has_infinity ? 248 : 254);
}

// Every middle between neighbours, the floats on both sides of it and quarter points; subnormals are among the codes.
TYPED_TEST(Float8Types, RoundsToNearestEven) {
  const Format f = format_of<TypeParam>();
  int values = 0;
  for (int code = 0; decoded(f, code) < f.largest; ++code) {
    const float low = static_cast<float>(decoded(f, code));
    const float high = static_cast<float>(decoded(f, code + 1));
    const float middle = (low + high) / 2;  // exact: one more bit
    EXPECT_EQ(TypeParam(middle).bits % 2, 0) << middle;
    for (const float value :
         {low, std::nextafter(low, high), low + (high - low) / 4, std::nextafter(middle, low), middle,
          std::nextafter(middle, high), high - (high - low) / 4, std::nextafter(high, low)}) {
      EXPECT_EQ(TypeParam(value).bits, nearest_code(f, value)) << value;
      EXPECT_EQ(TypeParam(-value).bits, nearest_code(f, -value)) << -value;
      values += 2;
    }
  }
  // Any float at all: a stride through their bit patterns that is coprime with everything in sight.
  for (std::uint64_t u = 0; u < 0x7F800000U; u += 104729) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(u));
    ASSERT_EQ(TypeParam(value).bits, nearest_code(f, value)) << value;
    ASSERT_EQ(TypeParam(-value).bits, nearest_code(f, -value)) << -value;
    values += 2;
  }
  std::printf("  %d values rounded as the search over all codes rounds them\n", values);
}

TYPED_TEST(Float8Types, SaturatesAndKeepsNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float largest = TypeParam::largest();
  const int code = TypeParam(largest).bits;
  for (const float value : {std::nextafter(largest, kInfinity), largest * 1.0625F, 2 * largest, 3e38F, kInfinity}) {
    EXPECT_EQ(TypeParam(value).bits, code) << value;
    EXPECT_EQ(TypeParam(-value).bits, code | 0x80) << value;
  }
  for (const std::uint32_t nan : {0x7F800001U, 0x7FC00000U, 0x7FFFFFFFU, 0xFF800001U, 0xFFC00000U, 0xFFFFFFFFU}) {
    EXPECT_TRUE(std::isnan(static_cast<float>(TypeParam(std::bit_cast<float>(nan))))) << nan;
  }
  EXPECT_EQ(TypeParam(0.0F).bits, 0x00);
  EXPECT_EQ(TypeParam(-0.0F).bits, 0x80);
  EXPECT_EQ(TypeParam(std::numeric_limits<float>::denorm_min()).bits, 0x00);
}

TEST(Float8, LiteralCodes) {
  EXPECT_EQ(Float8E4M3(1.0F).bits, 0x38);
  EXPECT_EQ(Float8E4M3(448.0F).bits, 0x7E);
  EXPECT_EQ(Float8E4M3(0x1p-9F).bits, 0x01);
  EXPECT_EQ(Float8E4M3(0x1p-10F).bits, 0x00) << "half of the smallest: a tie to even";
  EXPECT_EQ(Float8E4M3(0x1.8p-9F).bits, 0x02);
  EXPECT_EQ(Float8E5M2(1.0F).bits, 0x3C);
  EXPECT_EQ(Float8E5M2(57344.0F).bits, 0x7B);
  EXPECT_EQ(Float8E5M2(0x1p-16F).bits, 0x01);
  EXPECT_EQ(static_cast<float>(from_bits<Float8E5M2>(0x7C)), std::numeric_limits<float>::infinity());
  static_assert(Float8E4M3(1.125F).bits == 0x39, "usable in constant expressions");
}

}  // namespace
}  // namespace baekji
