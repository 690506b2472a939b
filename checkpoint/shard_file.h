#pragma once
// One shard of a checkpoint: the HDF5 file that one writer writes. docs/formats/checkpoint.md, "Shards".

#include <cstdint>
#include <filesystem>
#include <span>
#include <stop_token>
#include <string>

#include "checkpoint/manifest.h"
#include "core/hdf5.h"
#include "core/logical_tensor.h"

namespace baekji {

/// "shard-00003.h5"
std::string shard_file_name(std::int64_t writer);
/// The dataset of one array of one range: "/moment1/layers.3.attention.q/2/65536" (kind, tensor, slice, begin).
std::string shard_dataset_name(const LogicalTensor& tensor, StateKind kind, std::int64_t slice, std::int64_t begin);

/// Writes all three arrays of `shards` to a new file and closes it; the returned record lacks size and digest. Throws
/// when HDF5 could not write everything (a full disk) or `stop` asked to give up; the file is then worthless.
ShardRecord write_shard_file(const std::filesystem::path& path, std::int64_t step, std::int64_t writer,
                             std::span<const StateShard> shards, const std::stop_token& stop = {});

/// Reads elements [begin, begin + count) of a slice, which must lie inside `range`, into `destination`.
struct ShardRead {
  const LogicalTensor* tensor = nullptr;
  SavedRange range;
  StateKind kind = StateKind::kMaster;
  std::int64_t begin = 0;
  std::int64_t count = 0;
  MemoryPlace destination;
};
void read_shard_range(const Hdf5File& file, const ShardRead& read);

}  // namespace baekji
