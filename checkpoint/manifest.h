#pragma once
// The manifest of a checkpoint: what it holds, and the digest of every file. The bytes are fixed by
// docs/formats/checkpoint.md.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "core/logical_tensor.h"
#include "proof/kernel_set.h"

namespace baekji {

inline constexpr std::int64_t kCheckpointVersion = 1;

/// What a checkpoint says of itself.
struct CheckpointInfo {
  std::int64_t step = 0;
  std::int64_t updates = 0;   ///< optimizer updates so far
  std::int64_t position = 0;  ///< data position: sequences taken from the batch order so far
  std::int64_t tokens = 0;    ///< trained on so far
  std::int64_t tensor_grains = 1;
  Digest contract{};
  Digest state_root{};
  KernelSet kernel_set;

  bool operator==(const CheckpointInfo&) const = default;
};

/// Elements [begin, begin + count) of a slice (all three arrays), saved in one shard file.
struct SavedRange {
  std::int64_t tensor = 0;  ///< index in the list of tensors that stands with it
  std::int64_t slice = 0;
  std::int64_t begin = 0;
  std::int64_t count = 0;

  bool operator==(const SavedRange&) const = default;
};

/// A file of a checkpoint.
struct SavedFile {
  std::string name;  ///< inside the checkpoint's directory
  std::int64_t size_bytes = 0;
  Digest digest{};

  bool operator==(const SavedFile&) const = default;
};

/// What one writer wrote; plain data that writers send to writer 0 (encode and decode below).
struct ShardRecord {
  std::int64_t writer = 0;
  SavedFile file;
  std::vector<LogicalTensor> tensors;
  std::vector<SavedRange> ranges;  ///< `tensor` indexes `tensors` above
};
std::string encode_shard_record(const ShardRecord& record);
ShardRecord decode_shard_record(std::string_view bytes);

/// Everything in manifest.json.
struct Manifest {
  CheckpointInfo info;
  SavedFile index;                     ///< index.h5
  std::vector<SavedFile> shards;       ///< by writer
  std::vector<LogicalTensor> tensors;  ///< sorted by name
  struct Range {
    std::int64_t shard = 0;  ///< index in shards
    SavedRange range;        ///< `tensor` indexes tensors
  };
  std::vector<Range> ranges;  ///< sorted by (tensor, slice, begin)
};

/// Puts the records of all writers together. Throws when two records disagree on a tensor, when an element of any
/// tensor is saved twice or not at all, or when a tensor cannot be named in an HDF5 file.
Manifest make_manifest(const CheckpointInfo& info, std::span<const ShardRecord> records);

std::string encode_manifest(const Manifest& manifest);
/// Throws when any byte differs from what encode_manifest wrote, naming `place`.
Manifest decode_manifest(std::string_view bytes, const std::string& place);

/// "fp32 [4096, 512] split by rows into 4 slices, padded to 4224 rows": for errors.
std::string describe_geometry(const LogicalTensor& tensor);
/// Same name, shape, split, slices and padding.
bool same_geometry(const LogicalTensor& a, const LogicalTensor& b);

}  // namespace baekji
