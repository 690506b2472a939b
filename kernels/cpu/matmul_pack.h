#pragma once
// Packing: operands rearranged into the order in which register tiles read them. Values are copied, never changed;
// those of 8 bits are widened to fp32 on the way, which is exact.

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/matmul_tile.h"

namespace baekji::cpu {

/// Panels of `width` columns; within a panel one row of `stored_width` words for each step (4 bytes: one fp32 value, or
/// a pair of bf16 values that are neighbours along the inner dim). What lies beyond the source's columns or inner
/// extent is zero.
struct PackArgs {
  const std::byte* source = nullptr;  ///< the first element of the range to pack
  DType type = DType::kFloat32;       ///< fp32, bf16, or of 8 bits where the inner dim is last
  std::int64_t row_elements = 0;      ///< distance between rows of the source, in elements
  bool inner_is_last = false;         ///< source is [columns, inner]; otherwise [inner, columns]
  std::int64_t inner = 0;
  std::int64_t columns = 0;
  std::byte* panels = nullptr;
  std::int64_t panel_bytes = 0;       ///< from one panel to the next
  std::int64_t width = kTileColumns;  ///< kTileColumns as the b operand of tiles, kRowPanel as their a operand
};

/// Elements of the inner dim in one step.
constexpr std::int64_t step_elements(DType type) {
  return type == DType::kBfloat16 ? 2 : 1;
}

void pack(const PackArgs& args);

/// The same for operand a of AMX tiles, bf16 with the inner dim first: panels of kAmxRows columns, in each of them one
/// block of kAmxRows x kAmxInner elements, inner dim last, after the other.
void pack_amx_rows(const PackArgs& args);

/// Rows of a packed operand a in one panel.
inline constexpr std::int64_t kRowPanel = 64;

struct RowGroup {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

/// The rows of an operand a in groups of one register tile each. For vector tiles: first in panels of kRowPanel rows,
/// then each panel as evenly as can be, so that no group is left with a sliver that starves the multiply-add units, and
/// none straddles two panels. For AMX tiles: whole ones, and what is left.
class RowGroups {
 public:
  constexpr RowGroups(std::int64_t rows, bool amx) : rows_(rows), amx_(amx) {}

  constexpr std::int64_t count() const {
    if (amx_) return ceil_div(rows_, kAmxTileRows);
    return rows_ / kRowPanel * ceil_div(kRowPanel, kTileRows) + ceil_div(rows_ % kRowPanel, kTileRows);
  }
  constexpr RowGroup group(std::int64_t index) const {
    if (amx_) {
      const std::int64_t begin = index * kAmxTileRows;
      return {.begin = begin, .count = std::min(kAmxTileRows, rows_ - begin)};
    }
    constexpr std::int64_t kPerPanel = ceil_div(kRowPanel, kTileRows);
    const std::int64_t first = index / kPerPanel * kRowPanel;
    const std::int64_t panel_rows = std::min(kRowPanel, rows_ - first);
    const std::int64_t groups = ceil_div(panel_rows, kTileRows);
    const std::int64_t in_panel = index % kPerPanel;
    const std::int64_t begin = panel_rows * in_panel / groups;
    return {.begin = first + begin, .count = panel_rows * (in_panel + 1) / groups - begin};
  }

 private:
  std::int64_t rows_;
  bool amx_;
};

}  // namespace baekji::cpu
