#pragma once
// The register tile of bf16 on processors with AMX (Intel, since Sapphire Rapids): up to 32 x 32 dot products in four
// tile registers, some ten times as fast as the vector tile of matmul_tile.h.
//
// Its order of summation is its own, because TDPBF16PS adds 32 inner elements at a time (Intel SDM): those at even and
// those at odd inner indices are two left folds of fused multiply-adds from +0, their sum is added to the element;
// subnormal operands and results are zero. Element (m, n) is the left fold, from +0, of these over blocks of 32 inner
// indices that begin at multiples of 32, the last one filled with zeros. Its bits still depend on its row of a and its
// column of b alone.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/matmul_tile.h"

#if defined(BAEKJI_AVX512) && defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#define BAEKJI_AMX 1
#endif

namespace baekji::cpu {

/// Inner elements in one tile register, and rows of one.
inline constexpr std::int64_t kAmxInner = 32;
inline constexpr std::int64_t kAmxRows = 16;
/// Rows of the register tile: two tile registers.
inline constexpr std::int64_t kAmxTileRows = 2 * kAmxRows;

/// Whether this build has AMX tiles and the system lets this process use them; asked once.
bool amx_ready();

/// Whether products of this element type go through them.
template <class Element>
bool uses_amx() {
  return std::is_same_v<Element, Bfloat16> && amx_ready();
}

/// Leaves the tile registers as a thread that knows nothing of them expects, at the end of its task.
class AmxTask {
 public:
  AmxTask() = default;
  ~AmxTask();
  AmxTask(const AmxTask&) = delete;
  AmxTask& operator=(const AmxTask&) = delete;
};

/// One register tile. Distances are in bytes.
struct AmxTileArgs {
  const std::byte* a = nullptr;          ///< bf16
  std::int64_t a_row = 0;                ///< from a row of a tile register to the next
  std::int64_t a_block = kAmxInner * 2;  ///< to the next kAmxInner inner elements
  std::int64_t a_tile = 0;               ///< to the next kAmxRows rows
  const std::byte* b = nullptr;  ///< a panel of matmul_pack.h: pairs of inner indices, kTileColumns of them in a row
  std::int64_t inner = 0;        ///< elements; beyond them nothing is read
  bool resume = false;           ///< the fold goes on from `partial`
  float* partial = nullptr;      ///< [rows, kTileColumns], fp32
  std::int64_t partial_row = 0;  ///< in floats
};

/// The folds of `rows` (1 to kAmxTileRows) x `vectors` * 16 (1 or 2) elements, into args.partial. Only with
/// amx_ready().
void amx_fold(const AmxTileArgs& args, std::int64_t rows, std::int64_t vectors);

/// The same, stored as `output` says.
template <class Output>
void run_amx_tile(AmxTileArgs args, std::int64_t rows, std::int64_t vectors, TileOutput output,
                  const TileTarget<Output>& target) {
  if (output == TileOutput::kPartial) {
    amx_fold(args, rows, vectors);
    return;
  }
  alignas(64) float folds[kAmxTileRows * kTileColumns];
  if (args.resume) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t v = 0; v < vectors * kLanes; v += kLanes)
        store_lanes(folds + r * kTileColumns + v, load_lanes(args.partial + r * args.partial_row + v));
    }
  }
  args.partial = folds;
  args.partial_row = kTileColumns;
  amx_fold(args, rows, vectors);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t v = 0; v < vectors * kLanes; v += kLanes)
      store_finished(target.c + r * target.c_row + v, load_lanes(folds + r * kTileColumns + v), output,
                     target.columns - v);
  }
}

}  // namespace baekji::cpu
