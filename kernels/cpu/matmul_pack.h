#pragma once
// Packing: operands rearranged into the order in which register tiles read them. Values are copied, never changed;
// those of 8 bits are widened to fp32 on the way, which is exact.

#include <cstdint>

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

/// The rows of an operand a in groups of at most kTileRows: first in panels of kRowPanel rows, then each panel as
/// evenly as can be, so that no group is left with a sliver that starves the multiply-add units, and none straddles two
/// panels.
inline constexpr std::int64_t kRowPanel = 64;
struct RowGroup {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};
constexpr std::int64_t row_groups(std::int64_t rows) {
  constexpr std::int64_t kPerPanel = (kRowPanel + kTileRows - 1) / kTileRows;
  return rows / kRowPanel * kPerPanel + (rows % kRowPanel + kTileRows - 1) / kTileRows;
}
constexpr RowGroup row_group(std::int64_t rows, std::int64_t group) {
  const std::int64_t per_panel = row_groups(kRowPanel);
  const std::int64_t first = group / per_panel * kRowPanel;
  const std::int64_t panel_rows = rows - first < kRowPanel ? rows - first : kRowPanel;
  const std::int64_t groups = row_groups(panel_rows);
  const std::int64_t index = group % per_panel;
  const std::int64_t begin = panel_rows * index / groups;
  return {.begin = first + begin, .count = panel_rows * (index + 1) / groups - begin};
}

}  // namespace baekji::cpu
