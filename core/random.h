#pragma once
// Counter-based random numbers: any element of any stream is a pure function of (key, index).

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace baekji {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four words from a 128-bit
/// counter and a 64-bit key.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A stream of 64-bit words; word i is half (i & 1) of Philox block i >> 1.
class RandomStream {
 public:
  /// The key is the first 8 bytes of SHA-256(domain || 0x00 || seed as 8 little-endian bytes || name).
  RandomStream(std::string_view domain, std::uint64_t seed, std::string_view name);

  std::uint64_t word(std::uint64_t index) const;
  /// Uniform in [0, bound), for bound >= 1: the high half of the 128-bit product word * bound.
  std::uint64_t below(std::uint64_t index, std::uint64_t bound) const;
  /// Uniform in (0, 1): ((word >> 12) + 0.5) * 2^-52, exact.
  double uniform(std::uint64_t index) const;
  /// Standard normal: the inverse distribution function (Wichura 1988, AS 241 PPND16) of uniform(index).
  double normal(std::uint64_t index) const;

 private:
  std::array<std::uint32_t, 2> key_{};
};

/// A keyed permutation of [0, size): a Feistel network on the next even power of two with cycle walking. O(1) memory.
class KeyedPermutation {
 public:
  /// `size` >= 1.
  KeyedPermutation(std::string_view domain, std::uint64_t seed, std::string_view name, std::uint64_t size);
  std::uint64_t operator()(std::uint64_t index) const;

 private:
  std::uint64_t encrypt(std::uint64_t value) const;

  std::array<std::uint32_t, 2> key_{};
  std::uint64_t size_ = 1;
  unsigned half_bits_ = 1;
};

/// AS 241 (PPND16): the standard normal quantile of p in (0, 1), in double without fma.
double normal_quantile(double p);

}  // namespace baekji
