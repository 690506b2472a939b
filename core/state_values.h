#pragma once
// The arrays of a StateShard as the host reads and writes them: in place, or through a copy where they are a GPU's.

#include <cstdint>
#include <span>
#include <vector>

#include "core/logical_tensor.h"

namespace baekji {

/// Elements [begin, begin + count) of one array, counted from the shard's first; the array must be there.
struct StateRange {
  const StateShard& shard;
  StateKind kind = StateKind::kMaster;
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

/// The elements as they are: in the shard's memory, or copied into `buffer`.
std::span<const float> read_values(const StateRange& range, std::vector<float>& buffer);
/// Memory to write them into: the shard's own, or `buffer`, which write_back() brings to the shard.
std::span<float> values_to_write(const StateRange& range, std::vector<float>& buffer);
void write_back(const StateRange& range, const std::vector<float>& buffer);

}  // namespace baekji
