#pragma once
// The register tile: up to kTileRows x kTileColumns dot products held in registers while the inner dim goes by. The
// whole of the CPU's matmul and attention arithmetic runs through it, but for bf16 where there are AMX tiles
// (amx_tile.h).
//
// Its order of summation is the contract of the CPU kernels: element (m, n) is the left fold, from +0, of fused
// multiply-adds over the inner index in ascending order (bf16: pair by pair, see dot_pairs_portable). An element's bits
// therefore depend on its row of a and its column of b alone: not on tile sizes, packing, threads, nor on the other
// rows, columns or slices of the call.

#include <array>
#include <cstdint>
#include <utility>

#include "kernels/cpu/matmul_vector.h"

namespace baekji::cpu {

inline constexpr int kTileVectors = 2;
inline constexpr std::int64_t kTileColumns = kTileVectors * kLanes;

/// Operands are seen in steps along the inner dim, each 4 bytes wide per row and column: one fp32 value or one pair of
/// bf16 values. Strides are in bytes.
struct TileArgs {
  const std::byte* a = nullptr;  ///< row r, step s at a + r * a_row + s * a_step
  std::int64_t a_row = 0;
  std::int64_t a_step = 0;
  const std::byte* b = nullptr;  ///< column c, step s at b + s * b_step + 4 * c; whole vectors are read
  std::int64_t b_step = 0;
  std::int64_t steps = 0;
  bool half_step = false;        ///< bf16 only: the inner extent is odd; a holds one more element, b its pair with zero
  bool resume = false;           ///< the fold goes on from `partial` instead of +0
  float* partial = nullptr;      ///< fp32, whole vectors per row
  std::int64_t partial_row = 0;  ///< in floats
  std::int64_t a_panel = 0;      ///< of AMX tiles (amx_tile.h): a is packed, and this lies between its panels
};

/// How one step of a type is folded: the passes over it, what a pass takes of a word, and how it is added.
template <class Element>
struct TileStep;

template <>
struct TileStep<float> {
  using Vector = F32;
  static constexpr int kPasses = 1;
  static constexpr bool kFlushes = false;
  [[gnu::always_inline]] static F32 spread(const std::byte* from) {
    float x;
    std::memcpy(&x, from, sizeof(x));
    return broadcast(x);
  }
  template <int Pass>
  [[gnu::always_inline]] static F32 part(F32 x) {
    return x;
  }
  [[gnu::always_inline]] static F32 fold(F32 a, F32 b, F32 c) { return fused(a, b, c); }
};

// Pairs of bf16: one instruction where the processor has it, else a pass over the upper halves and one over the lower,
// with subnormals as zero.
template <>
struct TileStep<Bfloat16> {
  using Vector = U32;
#if defined(BAEKJI_DOT_PAIRS)
  static constexpr int kPasses = 1;
  static constexpr bool kFlushes = false;
#else
  static constexpr int kPasses = 2;
  static constexpr bool kFlushes = true;
#endif
  [[gnu::always_inline]] static U32 spread(const std::byte* from) {
    std::uint32_t x;
    std::memcpy(&x, from, sizeof(x));
    U32 word = U32{} + x;
    // Else gcc masks and shifts x before it is spread, in scalar registers, which costs a third of the speed.
    if constexpr (kPasses > 1) keep_here(word);
    return word;
  }
  [[gnu::always_inline]] static U32 spread_half(const std::byte* from) {
    std::uint16_t x;
    std::memcpy(&x, from, sizeof(x));
    return U32{} + std::uint32_t{x};
  }
#if defined(BAEKJI_DOT_PAIRS)
  template <int Pass>
  [[gnu::always_inline]] static U32 part(U32 x) {
    return x;
  }
  [[gnu::always_inline]] static F32 fold(U32 a, U32 b, F32 c) {
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
  }
#else
  template <int Pass>
  [[gnu::always_inline]] static F32 part(U32 x) {
    const F32 half = Pass == 0 ? upper_of_pairs(x) : lower_of_pairs(x);
#if defined(__SSE2__)
    return half;
#else
    return flush_subnormal(half);
#endif
  }
  [[gnu::always_inline]] static F32 fold(F32 a, F32 b, F32 c) {
#if defined(__SSE2__)
    return fused(a, b, c);
#else
    return flush_subnormal(fused(a, b, flush_subnormal(c)));
#endif
  }
#endif
};

/// Hides from the compiler how a pointer came about, so that it stays a register of its own.
[[gnu::always_inline]] inline void keep_apart(const std::byte*& pointer) {
  asm("" : "+r"(pointer));
}

/// The folds of Rows x (Vectors * kLanes) elements.
template <class Element, int Rows, int Vectors>
class TileFold {
 public:
  [[gnu::always_inline]] static void run(const TileArgs& t, F32 (&sum)[Rows][Vectors]) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        sum[r][v] = t.resume ? load_vector<F32>(t.partial + r * t.partial_row + v * kLanes) : F32{};
      }
    }
    if constexpr (Step::kFlushes) {
      const SubnormalsAreZero mode;
      keep_sums(sum);
      steps(t, sum);
      keep_sums(sum);
    } else {
      steps(t, sum);
    }
  }

 private:
  using Step = TileStep<Element>;
  using Vector = typename Step::Vector;
  // Three rows share a pointer: [p], [p + a_row] and [p + 2 a_row] are addresses that x86 has. Left alone, gcc keeps an
  // offset per row, and spills half of them into the loop (10% slower).
  static constexpr int kPointers = (Rows + 2) / 3;
  // b is longer than the first-level cache, and its lines are asked for this many steps ahead (5% on a Granite Rapids).
  static constexpr std::int64_t kFetchSteps = 24;

  [[gnu::always_inline]] static void steps(const TileArgs& t, F32 (&sum)[Rows][Vectors]) {
    const std::byte* a[kPointers];
    for (int i = 0; i < kPointers; ++i) a[i] = t.a + 3 * i * t.a_row;
    const std::byte* b = t.b;
    for (std::int64_t s = t.steps; s > 0; --s) {
      passes<0>(a, t.a_row, b, sum, [](const std::byte* from) { return Step::spread(from); });
#pragma GCC unroll 8
      for (int i = 0; i < kPointers; ++i) {
        a[i] += t.a_step;
        keep_apart(a[i]);
      }
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(b + kFetchSteps * kTileColumns * 4 + v * kLanes * 4, 0, 3);
      b += t.b_step;
    }
    if constexpr (std::is_same_v<Element, Bfloat16>) {
      if (t.half_step) passes<0>(a, t.a_row, b, sum, [](const std::byte* from) { return Step::spread_half(from); });
    }
  }

  // One step of the inner dim.
  template <int Pass, class Spread>
  [[gnu::always_inline]] static void passes(const std::byte* (&a)[kPointers], std::int64_t a_row, const std::byte*& b,
                                            F32 (&sum)[Rows][Vectors], const Spread& spread) {
    using Part = decltype(Step::template part<Pass>(Vector()));
    Part column[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) column[v] = Step::template part<Pass>(load_vector<Vector>(b + v * kLanes * 4));
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Part row = Step::template part<Pass>(spread(a[r / 3] + r % 3 * a_row));
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = Step::fold(row, column[v], sum[r][v]);
    }
    if constexpr (Pass + 1 < Step::kPasses) {
      // The next pass reads its words again: kept, they would not leave room for the sums.
#pragma GCC unroll 8
      for (int i = 0; i < kPointers; ++i) keep_apart(a[i]);
      keep_apart(b);
      passes<Pass + 1>(a, a_row, b, sum, spread);
    }
  }

  [[gnu::always_inline]] static void keep_sums(F32 (&sum)[Rows][Vectors]) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) keep_here(sum[r][v]);
    }
  }
};

/// Where a finished tile goes.
enum class TileOutput : std::uint8_t {
  kPartial,     ///< to TileArgs::partial, whole vectors
  kOverwrite,   ///< c = fold, rounded once to c's type
  kAccumulate,  ///< c = c + fold, fp32
};

template <class Output>
struct TileTarget {
  Output* c = nullptr;
  std::int64_t c_row = 0;    ///< in elements
  std::int64_t columns = 0;  ///< valid ones of the tile
};

/// One vector of finished folds, of which `columns` are valid, to kOverwrite or kAccumulate.
template <class Output>
[[gnu::always_inline]] inline void store_finished(Output* to, F32 folds, TileOutput output, std::int64_t columns) {
  const bool whole = columns >= kLanes;
  if constexpr (std::is_same_v<Output, float>) {
    if (output == TileOutput::kAccumulate) folds = (whole ? load_lanes(to) : load_lanes(to, columns)) + folds;
  }
  if (whole)
    store_lanes(to, folds);
  else
    store_lanes(to, folds, columns);
}

template <class Element, class Output, int Rows, int Vectors>
void run_tile(const TileArgs& t, TileOutput output, const TileTarget<Output>& target) {
  F32 sum[Rows][Vectors];
  TileFold<Element, Rows, Vectors>::run(t, sum);
  if (output == TileOutput::kPartial) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) store_vector(t.partial + r * t.partial_row + v * kLanes, sum[r][v]);
    }
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      store_finished(target.c + r * target.c_row + v * kLanes, sum[r][v], output, target.columns - v * kLanes);
  }
}

template <class Element, class Output>
using TileFunction = void (*)(const TileArgs&, TileOutput, const TileTarget<Output>&);

namespace detail {

template <class Element, class Output, int... Row>
constexpr auto tile_table(std::integer_sequence<int, Row...>) {
  return std::array<std::array<TileFunction<Element, Output>, kTileVectors>, kTileRows>{
      {{&run_tile<Element, Output, Row + 1, 1>, &run_tile<Element, Output, Row + 1, 2>}...}};
}

}  // namespace detail

/// The tile of `rows` (1 to kTileRows) x `vectors` (1 or 2).
template <class Element, class Output>
TileFunction<Element, Output> tile_function(std::int64_t rows, std::int64_t vectors) {
  static constexpr auto kTable = detail::tile_table<Element, Output>(std::make_integer_sequence<int, kTileRows>());
  return kTable[static_cast<std::size_t>(rows - 1)][static_cast<std::size_t>(vectors - 1)];
}

}  // namespace baekji::cpu
