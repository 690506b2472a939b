#pragma once
// The vector of fp32 lanes that the CPU's matmul and attention are written in, and what they need of it. One source for
// AVX-512, AVX2 and everything else (GCC and clang vector extensions); only the fused multiply-add, the bf16 dot
// product and the masked accesses are named instructions. All of them compute the same bits.

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "core/types.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace baekji::cpu {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define BAEKJI_AVX512 1
inline constexpr int kLanes = 16;
/// Rows of a register tile: rows x 2 accumulators, 2 vectors of b and one broadcast of a fill the register file.
inline constexpr int kTileRows = 14;
#elif defined(__AVX2__) && defined(__FMA__)
#define BAEKJI_AVX2 1
inline constexpr int kLanes = 8;
inline constexpr int kTileRows = 6;
#else
inline constexpr int kLanes = 4;
inline constexpr int kTileRows = 6;
#endif

using F32 = float __attribute__((vector_size(4 * kLanes)));
using I32 = std::int32_t __attribute__((vector_size(4 * kLanes)));
using U32 = std::uint32_t __attribute__((vector_size(4 * kLanes)));
using U16 = std::uint16_t __attribute__((vector_size(2 * kLanes)));

template <class To, class From>
[[gnu::always_inline]] inline To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From));
  return (To)from;  // a cast between vector types of one size keeps the bits
}

template <class Vector>
[[gnu::always_inline]] inline Vector load_vector(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}
template <class Vector>
[[gnu::always_inline]] inline void store_vector(void* to, Vector v) {
  std::memcpy(to, &v, sizeof(v));
}

[[gnu::always_inline]] inline F32 broadcast(float x) {
  return x - F32{};
}  // x + 0 would lose the sign of -0

/// round(a * b + c) in each lane.
[[gnu::always_inline]] inline F32 fused(F32 a, F32 b, F32 c) {
#if defined(BAEKJI_AVX512)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(BAEKJI_AVX2)
  return _mm256_fmadd_ps(a, b, c);
#else
  F32 r{};
  for (int i = 0; i < kLanes; ++i) r[i] = std::fma(a[i], b[i], c[i]);
  return r;
#endif
}

/// Zero (of the same sign) where x is subnormal.
[[gnu::always_inline]] inline F32 flush_subnormal(F32 x) {
  const U32 u = bits_of<U32>(x);
  return bits_of<F32>((u & 0x7F800000U) == 0U ? u & 0x80000000U : u);
}

/// The two bf16 values of each lane as fp32.
[[gnu::always_inline]] inline F32 upper_of_pairs(U32 x) {
  return bits_of<F32>(x & 0xFFFF0000U);
}
[[gnu::always_inline]] inline F32 lower_of_pairs(U32 x) {
  return bits_of<F32>(x << 16);
}

/// c + the products of the two bf16 pairs in each lane: the upper ones first, then the lower ones, each by a fused
/// multiply-add; subnormal operands and results are zero. This is what VDPBF16PS computes (Intel SDM; AMD Zen 4
/// agrees), and the specification of the tile's folds over pairs.
[[gnu::always_inline]] inline F32 dot_pairs_portable(U32 a, U32 b, F32 c) {
  c = flush_subnormal(
      fused(flush_subnormal(upper_of_pairs(a)), flush_subnormal(upper_of_pairs(b)), flush_subnormal(c)));
  return flush_subnormal(fused(flush_subnormal(lower_of_pairs(a)), flush_subnormal(lower_of_pairs(b)), c));
}

#if defined(BAEKJI_AVX512) && defined(__AVX512BF16__)
#define BAEKJI_DOT_PAIRS 1
#endif

/// While one lives, this thread's vector arithmetic takes and gives zero for subnormals, as VDPBF16PS does by itself:
/// a processor without that instruction then needs no flushing of its own between two fused multiply-adds. Results
/// must be kept (see keep_here) on its inner side: the compiler does not know that arithmetic depends on the mode.
class SubnormalsAreZero {
 public:
#if defined(__SSE2__)
  SubnormalsAreZero() {
    _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
  }
  ~SubnormalsAreZero() {
    _mm_setcsr(saved_);
  }

 private:
  static constexpr unsigned kFlushToZero = 0x8000;
  static constexpr unsigned kDenormalsAreZero = 0x0040;
  unsigned saved_ = _mm_getcsr();
#else
  SubnormalsAreZero() {}
  ~SubnormalsAreZero() {}
#endif
  SubnormalsAreZero(const SubnormalsAreZero&) = delete;
  SubnormalsAreZero& operator=(const SubnormalsAreZero&) = delete;
};

/// Keeps arithmetic that gives or takes `x` on its side of this line.
template <class Vector>
[[gnu::always_inline]] inline void keep_here(Vector& x) {
#if defined(__SSE2__)
  asm volatile("" : "+x"(x));
#else
  (void)x;
#endif
}

/// bf16 bits of each lane, rounded to nearest even: Bfloat16::round_to_bits.
[[gnu::always_inline]] inline U16 round_to_bf16(F32 x) {
  const U32 u = bits_of<U32>(x);
  const U32 rounded = (u + 0x7FFFU + ((u >> 16) & 1U)) >> 16;
  const U32 quiet_nan = (u >> 16) | 0x40U;
  return __builtin_convertvector((u & 0x7FFFFFFFU) > 0x7F800000U ? quiet_nan : rounded, U16);
}
[[gnu::always_inline]] inline F32 widen_bf16(U16 x) {
  return bits_of<F32>(__builtin_convertvector(x, U32) << 16);
}

/// Lane i: low[i] in the lower half, high[i] in the upper one.
[[gnu::always_inline]] inline U32 pair_up(U16 low, U16 high) {
#if defined(BAEKJI_AVX512)
  alignas(64) static constexpr std::array<std::uint16_t, 32> kOrder = [] {
    std::array<std::uint16_t, 32> order{};
    for (std::uint16_t i = 0; i < 32; ++i) order[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * 32);
    return order;
  }();
  return (U32)_mm512_permutex2var_epi16(_mm512_castsi256_si512((__m256i)low), load_vector<__m512i>(kOrder.data()),
                                        _mm512_castsi256_si512((__m256i)high));
#else
  return __builtin_convertvector(low, U32) | (__builtin_convertvector(high, U32) << 16);
#endif
}

/// The first `count` lanes from memory (0 <= count <= kLanes), zero beyond; memory beyond them is not touched.
[[gnu::always_inline]] inline F32 load_first(const float* from, std::int64_t count) {
#if defined(BAEKJI_AVX512)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << count) - 1U), from);
#else
  F32 v{};
  std::memcpy(&v, from, static_cast<std::size_t>(count) * sizeof(float));
  return v;
#endif
}
[[gnu::always_inline]] inline U16 load_first(const Bfloat16* from, std::int64_t count) {
#if defined(BAEKJI_AVX512)
  return (U16)_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1U << count) - 1U), from);
#else
  U16 v{};
  std::memcpy(&v, from, static_cast<std::size_t>(count) * sizeof(Bfloat16));
  return v;
#endif
}
[[gnu::always_inline]] inline void store_first(float* to, F32 v, std::int64_t count) {
#if defined(BAEKJI_AVX512)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1U << count) - 1U), v);
#else
  std::memcpy(to, &v, static_cast<std::size_t>(count) * sizeof(float));
#endif
}
[[gnu::always_inline]] inline void store_first(Bfloat16* to, U16 v, std::int64_t count) {
#if defined(BAEKJI_AVX512)
  _mm256_mask_storeu_epi16(to, static_cast<__mmask16>((1U << count) - 1U), (__m256i)v);
#else
  std::memcpy(static_cast<void*>(to), &v, static_cast<std::size_t>(count) * sizeof(Bfloat16));
#endif
}

/// Reads and writes of fp32 lanes whatever the storage type; one rounding on a write.
[[gnu::always_inline]] inline F32 load_lanes(const float* from) {
  return load_vector<F32>(from);
}
[[gnu::always_inline]] inline F32 load_lanes(const Bfloat16* from) {
  return widen_bf16(load_vector<U16>(from));
}
[[gnu::always_inline]] inline F32 load_lanes(const float* from, std::int64_t count) {
  return load_first(from, count);
}
[[gnu::always_inline]] inline F32 load_lanes(const Bfloat16* from, std::int64_t count) {
  return widen_bf16(load_first(from, count));
}
[[gnu::always_inline]] inline void store_lanes(float* to, F32 v) {
  store_vector(to, v);
}
[[gnu::always_inline]] inline void store_lanes(Bfloat16* to, F32 v) {
  store_vector(to, round_to_bf16(v));
}
[[gnu::always_inline]] inline void store_lanes(float* to, F32 v, std::int64_t count) {
  store_first(to, v, count);
}
[[gnu::always_inline]] inline void store_lanes(Bfloat16* to, F32 v, std::int64_t count) {
  store_first(to, round_to_bf16(v), count);
}

namespace detail {

// Exchanges the off-diagonal blocks of `Half` lanes between rows i and i + Half.
template <int Half, int... Lane>
[[gnu::always_inline]] inline void exchange(F32& a, F32& b, std::integer_sequence<int, Lane...>) {
  const F32 low = __builtin_shufflevector(a, b, ((Lane & Half) == 0 ? Lane : kLanes + Lane - Half)...);
  const F32 high = __builtin_shufflevector(a, b, ((Lane & Half) == 0 ? Lane + Half : kLanes + Lane)...);
  a = low;
  b = high;
}

template <int Half>
[[gnu::always_inline]] inline void transpose_steps(F32 (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & Half) == 0) exchange<Half>(rows[i], rows[i + Half], std::make_integer_sequence<int, kLanes>());
  }
  if constexpr (Half > 1) transpose_steps<Half / 2>(rows);
}

}  // namespace detail

/// Transposes a kLanes x kLanes block in registers (recursive exchange of quadrants).
[[gnu::always_inline]] inline void transpose_block(F32 (&rows)[kLanes]) {
  detail::transpose_steps<kLanes / 2>(rows);
}

}  // namespace baekji::cpu
