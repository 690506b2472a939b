#pragma once
// 8-bit floating point for matrix products (Micikevicius et al. 2022, "FP8 formats for deep learning"; the OCP OFP8
// formats): E4M3 has no infinity and ends at 448, E5M2 ends at 57,344.

#include <bit>
#include <cstdint>

namespace baekji {

/// Conversion from float rounds to nearest, ties to even, and saturates at the largest finite value; a NaN stays one.
/// Integer arithmetic but for subnormals, where adding a constant rounds: the same bits everywhere.
template <int kMantissaBits, int kBias, std::uint8_t kLargest, std::uint8_t kNan>
struct Float8 {
  std::uint8_t bits = 0;

  Float8() = default;
  constexpr explicit Float8(float value) : bits(round_to_bits(value)) {}
  constexpr explicit operator float() const {
    const std::uint32_t magnitude = bits & 0x7FU;
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80U) << 24;
    const std::uint32_t exponent = magnitude >> kMantissaBits;
    if (magnitude > kLargest) {  // an infinity of E5M2 comes from elsewhere: our conversion makes none
      const bool infinite = magnitude < kNan && (magnitude & ((1U << kMantissaBits) - 1U)) == 0;
      return std::bit_cast<float>(sign | (infinite ? 0x7F800000U : 0x7FC00000U));
    }
    if (exponent == 0) {
      const float value = static_cast<float>(magnitude) * kSmallest;
      return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
    }
    return std::bit_cast<float>(sign | ((magnitude + (kRebias << kMantissaBits)) << kDropped));
  }
  bool operator==(const Float8&) const = default;

  /// The largest finite value.
  static constexpr float largest() { return std::bit_cast<float>((kLargest + (kRebias << kMantissaBits)) << kDropped); }

 private:
  static constexpr int kDropped = 23 - kMantissaBits;
  static constexpr std::uint32_t kRebias = 127 - kBias;
  static constexpr std::uint32_t kFirstNormal = (kRebias + 1) << 23;  // as float bits
  /// The smallest subnormal: 2^(1 - bias - mantissa bits).
  static constexpr float kSmallest =
      std::bit_cast<float>(static_cast<std::uint32_t>(127 + 1 - kBias - kMantissaBits) << 23);

  static constexpr std::uint8_t round_to_bits(float value) {
    const std::uint32_t u = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (u >> 24) & 0x80U;
    const std::uint32_t magnitude = u & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) return static_cast<std::uint8_t>(sign | kNan);
    if (magnitude < kFirstNormal) {
      // One unit in the last place of 2^23 is one: the sum's low bits are the nearest count of the smallest subnormal.
      constexpr float kRound = 8388608.0F;
      const float count = std::bit_cast<float>(magnitude) * (1.0F / kSmallest) + kRound;
      return static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(count) & 0x7FU));
    }
    const std::uint32_t half = (1U << (kDropped - 1)) - 1U;
    const std::uint32_t rounded = (magnitude + half + ((magnitude >> kDropped) & 1U)) >> kDropped;
    const std::uint32_t code = rounded - (kRebias << kMantissaBits);
    return static_cast<std::uint8_t>(sign | (code > kLargest ? kLargest : code));
  }
};

using Float8E4M3 = Float8<3, 7, 0x7E, 0x7F>;
using Float8E5M2 = Float8<2, 15, 0x7B, 0x7F>;

}  // namespace baekji
