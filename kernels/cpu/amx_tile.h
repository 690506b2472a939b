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
inline bool uses_amx(DType type) {
  return type == DType::kBfloat16 && amx_ready();
}

/// Leaves the tile registers as a thread that knows nothing of them expects, at the end of its task.
class AmxTask {
 public:
  AmxTask() = default;
  ~AmxTask();
  AmxTask(const AmxTask&) = delete;
  AmxTask& operator=(const AmxTask&) = delete;
};

/// The folds of `rows` (1 to kAmxTileRows) x `vectors` * 16 (1 or 2) elements, into t.partial. The inner dim of a is
/// dense; or a is packed (pack_amx_rows), t.a is the panel of its first row and t.a_row what is from one row of a block
/// to the next. Nothing beyond the steps is read. Only with amx_ready().
void amx_fold(const TileArgs& t, std::int64_t rows, std::int64_t vectors);

/// The same, stored as `output` says.
template <class Output>
void run_amx_tile(TileArgs t, std::int64_t rows, std::int64_t vectors, TileOutput output,
                  const TileTarget<Output>& target) {
  alignas(64) float folds[kAmxTileRows * kTileColumns];
  if (output != TileOutput::kPartial && !t.resume) {
    t.partial = folds;
    t.partial_row = kTileColumns;
  }
  amx_fold(t, rows, vectors);
  if (output == TileOutput::kPartial) return;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t v = 0; v < vectors * kLanes; v += kLanes)
      store_finished(target.c + r * target.c_row + v, load_lanes(t.partial + r * t.partial_row + v), output,
                     target.columns - v);
  }
}

}  // namespace baekji::cpu
