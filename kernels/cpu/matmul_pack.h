#pragma once
// Packing: operands rearranged into the order in which register tiles read them. Values are copied, never changed.

#include <cstdint>

#include "kernels/cpu/matmul_tile.h"

namespace baekji::cpu {

/// Panels of `width` columns; within a panel one row of `stored_width` words for each step (4 bytes: one fp32 value, or
/// a pair of bf16 values that are neighbours along the inner dim). What lies beyond the source's columns or inner
/// extent is zero.
struct PackArgs {
  const std::byte* source = nullptr;  ///< the first element of the range to pack
  DType type = DType::kFloat32;       ///< fp32 or bf16
  std::int64_t row_elements = 0;      ///< distance between rows of the source, in elements
  bool inner_is_last = false;         ///< source is [columns, inner]; otherwise [inner, columns]
  std::int64_t inner = 0;
  std::int64_t columns = 0;
  std::byte* panels = nullptr;
  std::int64_t panel_bytes = 0;              ///< from one panel to the next
  std::int64_t stored_width = kTileColumns;  ///< a multiple of kLanes
};

/// Elements of the inner dim in one step.
constexpr std::int64_t step_elements(DType type) {
  return type == DType::kBfloat16 ? 2 : 1;
}

/// Panels of kTileColumns columns, as the b operand of a tile.
void pack_columns(const PackArgs& args);

/// Groups of rows of a transposed operand a ([inner, rows]), as the a operand of tiles: group g holds the rows of
/// row_group(args.columns, g). Words per step: kStoredRows.
inline constexpr std::int64_t kStoredRows = (kTileRows + kLanes - 1) / kLanes * kLanes;
void pack_row_groups(const PackArgs& args);

/// `rows` rows in groups of at most kTileRows, as even as can be: no group is left with a sliver that starves the
/// multiply-add units.
struct RowGroup {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};
constexpr std::int64_t row_groups(std::int64_t rows) {
  return (rows + kTileRows - 1) / kTileRows;
}
constexpr RowGroup row_group(std::int64_t rows, std::int64_t group) {
  const std::int64_t groups = row_groups(rows);
  const std::int64_t begin = rows * group / groups;
  return {.begin = begin, .count = rows * (group + 1) / groups - begin};
}

}  // namespace baekji::cpu
