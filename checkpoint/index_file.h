#pragma once
// index.h5: every logical tensor whole, as HDF5 virtual datasets over the shards. docs/formats/checkpoint.md, "Index".

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "core/logical_tensor.h"

namespace baekji {

inline constexpr const char* kIndexFileName = "index.h5";

/// The virtual dataset of a tensor: "/layers.3.attention.q" for the master weights, "/moment1/..." for the others.
std::string index_dataset_name(const LogicalTensor& tensor, StateKind kind);

/// A rectangle of the logical tensor that is contiguous in a range of a slice.
struct RangePiece {
  std::int64_t row = 0;
  std::int64_t column = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t offset = 0;  ///< in the range, of the first element; the piece has rows * columns elements there
};
/// The at most three pieces (a partial row, whole rows, a partial row) of a saved range; padding is in none of them.
std::vector<RangePiece> range_pieces(const LogicalTensor& tensor, const SavedRange& range);

/// Writes and closes the index of the tensors, ranges and shard names of `manifest`. Throws when HDF5 could not.
void write_index_file(const std::filesystem::path& path, const Manifest& manifest);

}  // namespace baekji
