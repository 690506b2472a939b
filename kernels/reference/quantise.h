#pragma once
// Reference maximum and conversion to 8 bits. fp32 arithmetic only, as the optimizer's: this is the contract's own
// arithmetic, not maths to be differentiated. What decides a bit (scale and code of one element) stands here as
// constexpr functions that every back end calls.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/check.h"
#include "kernels/reference/scalar.h"

namespace baekji::reference {

/// The magnitude of a float as an integer: the order of floats, with every NaN above infinity.
constexpr std::uint32_t magnitude_bits(float value) {
  return std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU;
}
inline constexpr std::uint32_t kInfinityBits = 0x7F800000U;
/// The float of a magnitude: of all NaNs one, because processors differ in those they make.
constexpr float magnitude_of(std::uint32_t bits) {
  return std::bit_cast<float>(bits > kInfinityBits ? 0x7FC00000U : bits);
}

/// A power of two and its inverse, both normal numbers, so that a product with either is exact wherever its result is
/// not below 2^-126. What is, rounds to a zero of the 8-bit types twice over.
struct QuantiseScale {
  float scale = 1;
  float inverse = 1;
};
/// The scale for values up to `max`, for a type that ends at `largest`: QuantiseArgs has the rule. At least 2^-126 (max
/// at least 2^-118 in e4m3, 2^-111 in e5m2; below, codes are smaller than they could be). When max is not finite the
/// inverse is NaN, and so is every code.
constexpr QuantiseScale quantise_scale(float max, float largest) {
  const std::uint32_t bits = magnitude_bits(max);
  if (bits == 0) return {};
  if (bits >= kInfinityBits) return {magnitude_of(bits), std::numeric_limits<float>::quiet_NaN()};
  constexpr std::uint32_t kFraction = 0x7FFFFFU;
  const std::uint32_t last = std::bit_cast<std::uint32_t>(largest);
  // A subnormal max counts as 2^-127 here: its scale is the smallest one in any case.
  const int steps = static_cast<int>(bits >> 23) - static_cast<int>(last >> 23);
  const int exponent = std::max(steps + ((bits & kFraction) > (last & kFraction) ? 1 : 0), -126);
  return {std::bit_cast<float>(static_cast<std::uint32_t>(127 + exponent) << 23),
          std::bit_cast<float>(static_cast<std::uint32_t>(127 - exponent) << 23)};
}

/// The code of one value. A NaN has one code, because processors differ in the sign of those they make; an infinity
/// under a finite max (of another tensor) saturates.
template <class To>
constexpr To quantise_value(float value, float inverse) {
  const float scaled = value * inverse;
  return To(magnitude_bits(scaled) > kInfinityBits ? std::numeric_limits<float>::quiet_NaN() : scaled);
}

/// Calls body(std::type_identity<T>) for an 8-bit type; throws on any other.
template <class Body>
void with_float8(DType type, std::string_view operation, const Body& body) {
  if (type == DType::kFloat8E4M3)
    body(std::type_identity<Float8E4M3>());
  else if (type == DType::kFloat8E5M2)
    body(std::type_identity<Float8E5M2>());
  else
    throw Error("not an 8-bit type").values("e4m3 or e5m2", name_of(type)).at(operation);
}

/// The type that a call of quantise() makes.
inline DType quantised_type(const QuantiseArgs& args) {
  return (args.out_NC.defined() ? args.out_NC : args.transposed_CN).type();
}

inline void absolute_max(const AbsoluteMaxArgs& args) {
  check_arguments(args);
  float* max = args.max.as<float>();
  std::uint32_t largest = args.combine ? magnitude_bits(*max) : 0;
  for (std::int64_t n = 0; n < args.in.dim(0); ++n) {
    for (const float value : read_row<float>(args.in, n * args.in.stride(0), args.in.dim(1))) {
      largest = std::max(largest, magnitude_bits(value));
    }
  }
  *max = magnitude_of(largest);
}

inline void quantise(const QuantiseArgs& args) {
  check_arguments(args);
  with_float8(quantised_type(args), "quantise", [&]<class To>(std::type_identity<To>) {
    const QuantiseScale scale = quantise_scale(*args.max.as<float>(), To::largest());
    *args.scale.as<float>() = scale.scale;
    for (std::int64_t n = 0; n < args.in_NC.dim(0); ++n) {
      const std::vector<float> row = read_row<float>(args.in_NC, n * args.in_NC.stride(0), args.in_NC.dim(1));
      for (std::int64_t c = 0; c < args.in_NC.dim(1); ++c) {
        const To code = quantise_value<To>(row[static_cast<std::size_t>(c)], scale.inverse);
        if (args.out_NC.defined()) args.out_NC.as<To>()[n * args.out_NC.stride(0) + c] = code;
        if (args.transposed_CN.defined()) args.transposed_CN.as<To>()[c * args.transposed_CN.stride(0) + n] = code;
      }
    }
  });
}

}  // namespace baekji::reference
