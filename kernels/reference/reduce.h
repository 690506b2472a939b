#pragma once
// The orders of summation that the kernels share. Every back end reproduces them bit for bit, at any length.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace baekji {

/// Sums along a row run in this many interleaved lanes: element i is added to lane i % kRowLanes, lanes start at +0.
inline constexpr std::int64_t kRowLanes = 16;
/// Sums over rows (gains) run in fixed blocks of this many rows: a left fold from +0 inside a block, row by row and per
/// column; then the block sums are added to the accumulator one after the other, in block order.
inline constexpr std::int64_t kRowBlock = 64;

/// The lane tree: lane i takes lane i + half, for half = 8, 4, 2, 1 (of 16). A vector register folds its upper half
/// onto its lower half this way, and a GPU warp its butterfly.
template <class Scalar, std::size_t Count>
Scalar lane_tree(std::array<Scalar, Count> lanes) {
  static_assert((Count & (Count - 1)) == 0, "a power of two of lanes");
  for (std::size_t half = Count / 2; half >= 1; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  }
  return lanes[0];
}

/// The sum of a row in the lane order.
template <class Scalar>
Scalar lane_sum(std::span<const Scalar> row) {
  std::array<Scalar, kRowLanes> lanes{};
  for (std::size_t i = 0; i < row.size(); ++i) lanes[i % kRowLanes] = lanes[i % kRowLanes] + row[i];
  return lane_tree(lanes);
}

/// The sum of products a[i] * b[i] in the lane order; each product is rounded before it is added.
template <class Scalar>
Scalar lane_dot(std::span<const Scalar> a, std::span<const Scalar> b) {
  std::array<Scalar, kRowLanes> lanes{};
  for (std::size_t i = 0; i < a.size(); ++i) lanes[i % kRowLanes] = lanes[i % kRowLanes] + a[i] * b[i];
  return lane_tree(lanes);
}

/// The pair tree, for sums over a whole range: neighbours are added, level by level; where one has no neighbour it
/// takes +0. For squares this is any balanced tree that splits at powers of two, so a back end may sum aligned blocks
/// first. Overwrites `values`.
inline double pair_tree(std::span<double> values) {
  if (values.empty()) return 0.0;
  for (std::size_t count = values.size(); count > 1; count = (count + 1) / 2) {
    for (std::size_t i = 0; 2 * i < count; ++i)
      values[i] = values[2 * i] + (2 * i + 1 < count ? values[2 * i + 1] : 0.0);
  }
  return values[0];
}

}  // namespace baekji
