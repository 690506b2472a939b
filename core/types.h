#pragma once
// Element types, their conversions, and checked integer narrowing.

#include <bit>
#include <complex>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include "core/error.h"
#include "core/float8.h"

namespace baekji {

using Complex = std::complex<double>;

/// bfloat16: the upper half of an IEEE binary32. Conversion from float rounds to nearest, ties to even; a NaN stays a
/// (quiet) NaN. Integer arithmetic only, so that vector and scalar code agree bit for bit on every machine.
struct Bfloat16 {
  std::uint16_t bits = 0;

  Bfloat16() = default;
  constexpr explicit Bfloat16(float value) : bits(round_to_bits(value)) {}
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  bool operator==(const Bfloat16&) const = default;

  static constexpr std::uint16_t round_to_bits(float value) {
    const std::uint32_t u = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (u + 0x7FFFU + ((u >> 16) & 1U)) >> 16;
    const std::uint32_t quiet_nan = (u >> 16) | 0x40U;
    return static_cast<std::uint16_t>((u & 0x7FFFFFFFU) > 0x7F800000U ? quiet_nan : rounded);
  }
};

enum class DType : std::uint8_t {
  kFloat32,
  kBfloat16,
  kFloat64,
  kComplex128,
  kInt32,
  kInt64,
  kFloat8E4M3,
  kFloat8E5M2
};

constexpr std::int64_t size_of(DType type) {
  switch (type) {
    case DType::kFloat8E4M3:
    case DType::kFloat8E5M2:
      return 1;
    case DType::kBfloat16:
      return 2;
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kFloat64:
    case DType::kInt64:
      return 8;
    case DType::kComplex128:
      return 16;
  }
  return 0;
}

constexpr bool is_float8(DType type) {
  return type == DType::kFloat8E4M3 || type == DType::kFloat8E5M2;
}

constexpr std::string_view name_of(DType type) {
  switch (type) {
    case DType::kBfloat16:
      return "bf16";
    case DType::kFloat32:
      return "fp32";
    case DType::kFloat64:
      return "fp64";
    case DType::kComplex128:
      return "c128";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kFloat8E4M3:
      return "e4m3";
    case DType::kFloat8E5M2:
      return "e5m2";
  }
  return "?";
}

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::kFloat32;
  else if constexpr (std::is_same_v<T, Bfloat16>)
    return DType::kBfloat16;
  else if constexpr (std::is_same_v<T, double>)
    return DType::kFloat64;
  else if constexpr (std::is_same_v<T, Complex>)
    return DType::kComplex128;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return DType::kInt32;
  else if constexpr (std::is_same_v<T, Float8E4M3>)
    return DType::kFloat8E4M3;
  else if constexpr (std::is_same_v<T, Float8E5M2>)
    return DType::kFloat8E5M2;
  else {
    static_assert(std::is_same_v<T, std::int64_t>, "no DType for this element type");
    return DType::kInt64;
  }
}

/// Integer conversion that throws instead of changing the value.
template <class To, class From>
constexpr To narrow(From value) {
  const To result = static_cast<To>(value);
  if (static_cast<From>(result) != value || (result < To{}) != (value < From{})) {
    throw Error("an integer does not fit its type")
        .values(fmt::format("{}..{}", std::numeric_limits<To>::min(), std::numeric_limits<To>::max()),
                fmt::format("{}", value));
  }
  return result;
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return ceil_div(a, b) * b;
}

}  // namespace baekji
