#pragma once
// LogicalTensor: a whole parameter, whatever the layout, and its geometry of slices and chunks. StateShard: the part of
// its optimizer state that one process owns. Pure values: hashing, checkpoints, genesis and sharding all agree here.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "core/types.h"

namespace baekji {

/// Elements of a slice that are hashed, saved and sharded as one unit; the last chunk of a slice may be shorter.
inline constexpr std::int64_t kChunkElements = 65536;

/// Which dim of a logical tensor its slices divide.
enum class Split : std::uint8_t { kNone, kRows, kColumns };

/// A parameter of one or two dims. A one-dim tensor [n] counts as n columns in one row and is never split.
/// Slices are row-major and contiguous: [slice_rows, slice_columns]. A tensor split by rows may be padded (the
/// vocabulary): padded rows hold zeros for ever and have no place in the logical tensor.
struct LogicalTensor {
  std::string name;                 ///< "layers.3.attention.q"
  std::vector<std::int64_t> shape;  ///< logical extents, unpadded
  Split split = Split::kNone;
  std::int64_t slices = 1;       ///< tensor_grains when split, else 1
  std::int64_t padded_rows = 0;  ///< rows after padding; 0 means no padding

  std::int64_t rows() const { return shape.size() == 1 ? 1 : shape[0]; }
  std::int64_t columns() const { return shape.back(); }
  std::int64_t elements() const { return rows() * columns(); }
  std::int64_t slice_rows() const {
    const std::int64_t all = padded_rows == 0 ? rows() : padded_rows;
    return split == Split::kRows ? all / slices : all;
  }
  std::int64_t slice_columns() const { return split == Split::kColumns ? columns() / slices : columns(); }
  std::int64_t slice_elements() const { return slice_rows() * slice_columns(); }
  std::int64_t chunks_per_slice() const { return ceil_div(slice_elements(), kChunkElements); }

  /// Row-major index in the unpadded logical tensor of element `i` of `slice`; -1 for a padded element.
  std::int64_t logical_index(std::int64_t slice, std::int64_t i) const {
    const std::int64_t row = i / slice_columns() + (split == Split::kRows ? slice * slice_rows() : 0);
    const std::int64_t column = i % slice_columns() + (split == Split::kColumns ? slice * slice_columns() : 0);
    return row < rows() ? row * columns() + column : -1;
  }
};

/// How step 0 is made.
struct Initialisation {
  enum class Kind : std::uint8_t { kNormal, kConstant };
  Kind kind = Kind::kNormal;
  double value = 0;  ///< standard deviation, or the constant
};

/// The three fp32 arrays that make up the state of a parameter, in the order of hashing.
enum class StateKind : std::uint8_t { kMaster = 0, kMoment1 = 1, kMoment2 = 2 };
inline constexpr std::array<StateKind, 3> kStateKinds{StateKind::kMaster, StateKind::kMoment1, StateKind::kMoment2};
constexpr std::string_view name_of(StateKind kind) {
  constexpr std::array<std::string_view, 3> kNames{"master", "moment1", "moment2"};
  return kNames[static_cast<std::size_t>(kind)];
}

/// The state of elements [begin, begin + count) of one slice, owned by this process. `begin` is a multiple of
/// kChunkElements and the range ends at a chunk boundary or at the end of the slice.
struct StateShard {
  const LogicalTensor* tensor = nullptr;
  Initialisation initialisation;
  std::int64_t slice = 0;
  std::int64_t begin = 0;
  std::int64_t count = 0;
  std::array<float*, 3> values{};  ///< by StateKind; values[k][0] is element `begin`
  Device device;                   ///< where they are: the host reads them through core/state_values.h
};

}  // namespace baekji
