#include "kernels/cpu/amx_tile.h"

#include <algorithm>
#include <array>
#include <cstring>

#if defined(BAEKJI_AMX)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace baekji::cpu {

#if defined(BAEKJI_AMX)

namespace {

// Linux gives a process the tile registers only when it asks (arch/x86: "Dynamic XSTATE features").
bool request_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// The compiler does not know that tile instructions read memory: everything is written before this. (Without outputs an
// asm statement stays where it is.)
void memory_is_written() {
  asm("" : : : "memory");
}

// The operand of LDTILECFG (Intel SDM). Tiles 0 to 3 are sums, row tile by row tile; 4 and 5 are of a; 6 and 7 of b.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::array<std::uint8_t, 14> reserved{};
  std::array<std::uint16_t, 16> row_bytes{};
  std::array<std::uint8_t, 16> rows{};
};
static_assert(sizeof(TileConfig) == 64);

// Rows that this thread's tile registers are configured for; 0: they are not.
thread_local std::int64_t configured_rows = 0;

void configure(std::int64_t rows) {
  if (rows == configured_rows) return;
  TileConfig config;
  const std::int64_t first = std::min(rows, kAmxRows);
  const std::int64_t second = std::max<std::int64_t>(rows - kAmxRows, 1);
  const std::array<std::int64_t, 8> tile_rows{first, first, second, second, first, second, kAmxRows, kAmxRows};
  for (std::size_t t = 0; t < tile_rows.size(); ++t) {
    config.row_bytes[t] = 64;
    config.rows[t] = static_cast<std::uint8_t>(tile_rows[t]);
  }
  memory_is_written();
  _tile_loadconfig(&config);
  configured_rows = rows;
}

constexpr std::int64_t kRowBytes = kAmxInner * 2;  // of a tile register
constexpr std::int64_t kBRow = kTileColumns * 4;
constexpr std::int64_t kBBlock = kAmxInner / 2 * kBRow;

// 32 inner elements.
template <int RowTiles, int Vectors>
[[gnu::always_inline]] inline void fold_block(const std::byte* a, std::int64_t a_row, std::int64_t a_tile,
                                              const std::byte* b) {
  _tile_loadd(6, b, kBRow);
  _tile_loadd(4, a, a_row);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (Vectors == 2) {
    _tile_loadd(7, b + 64, kBRow);
    _tile_dpbf16ps(1, 4, 7);
  }
  if constexpr (RowTiles == 2) {
    _tile_loadd(5, a + a_tile, a_row);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (Vectors == 2) _tile_dpbf16ps(3, 5, 7);
  }
}

// The last elements of both operands, zero beyond them.
template <int RowTiles, int Vectors>
void fold_rest(const TileArgs& t, std::int64_t a_tile, std::int64_t rows, std::int64_t count) {
  alignas(64) std::array<std::byte, kAmxTileRows * kRowBytes> a_rest{};
  alignas(64) std::array<std::byte, kBBlock> b_rest{};
  for (std::int64_t r = 0; r < rows; ++r) {
    std::memcpy(a_rest.data() + r * kRowBytes, t.a + r / kAmxRows * a_tile + r % kAmxRows * t.a_row,
                static_cast<std::size_t>(count * 2));
  }
  std::memcpy(b_rest.data(), t.b, static_cast<std::size_t>(ceil_div(count, 2) * kBRow));
  memory_is_written();
  fold_block<RowTiles, Vectors>(a_rest.data(), kRowBytes, kAmxRows * kRowBytes, b_rest.data());
}

template <int RowTiles, int Vectors>
void fold(TileArgs t, std::int64_t rows) {
  const std::int64_t row_bytes = t.partial_row * 4;
  float* const second = t.partial + kAmxRows * t.partial_row;
  memory_is_written();
  if (t.resume) {
    _tile_loadd(0, t.partial, row_bytes);
    if constexpr (Vectors == 2) _tile_loadd(1, t.partial + kLanes, row_bytes);
    if constexpr (RowTiles == 2) _tile_loadd(2, second, row_bytes);
    if constexpr (RowTiles == 2 && Vectors == 2) _tile_loadd(3, second + kLanes, row_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const std::int64_t a_tile = t.a_panel != 0 ? t.a_panel : kAmxRows * t.a_row;
  const std::int64_t a_block = t.a_panel != 0 ? kAmxRows * kRowBytes : kRowBytes;
  const std::int64_t inner = 2 * t.steps + (t.half_step ? 1 : 0);
  for (std::int64_t block = inner / kAmxInner; block > 0; --block, t.a += a_block, t.b += kBBlock)
    fold_block<RowTiles, Vectors>(t.a, t.a_row, a_tile, t.b);
  if (inner % kAmxInner != 0) fold_rest<RowTiles, Vectors>(t, a_tile, rows, inner % kAmxInner);
  _tile_stored(0, t.partial, row_bytes);
  if constexpr (Vectors == 2) _tile_stored(1, t.partial + kLanes, row_bytes);
  if constexpr (RowTiles == 2) _tile_stored(2, second, row_bytes);
  if constexpr (RowTiles == 2 && Vectors == 2) _tile_stored(3, second + kLanes, row_bytes);
}

}  // namespace

bool amx_ready() {
  static const bool ready = request_tiles();
  return ready;
}

AmxTask::~AmxTask() {
  if (configured_rows == 0) return;
  _tile_release();
  configured_rows = 0;
}

void amx_fold(const TileArgs& t, std::int64_t rows, std::int64_t vectors) {
  configure(rows);
  if (rows > kAmxRows)
    vectors == 2 ? fold<2, 2>(t, rows) : fold<2, 1>(t, rows);
  else
    vectors == 2 ? fold<1, 2>(t, rows) : fold<1, 1>(t, rows);
}

#else

bool amx_ready() {
  return false;
}
AmxTask::~AmxTask() {}
void amx_fold(const TileArgs& /*t*/, std::int64_t /*rows*/, std::int64_t /*vectors*/) {}

#endif

}  // namespace baekji::cpu
