#pragma once
// How chunks of parameters are dealt out to data ranks, in buckets that travel as one message. Pure values.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/types.h"

namespace baekji {

/// Consecutive chunks of one slice that one rank owns.
struct ChunkRange {
  std::size_t slice = 0;   ///< index into the slices that were partitioned
  std::int64_t begin = 0;  ///< first element in the slice, a multiple of kChunkElements
  std::int64_t count = 0;
  std::int64_t owner = 0;
  std::int64_t offset = 0;  ///< of its first element in the owner's part of the bucket
};

/// Every rank's part has `part_elements` elements, the last ones of most unused.
struct Bucket {
  std::vector<ChunkRange> ranges;
  std::int64_t part_elements = 0;
};

/// Chunks of a bucket, about 4 million elements: large enough to use the links, small enough to begin while others are
/// computed. With `ranks` owners it is the next multiple of them, so that each owns as many as the others.
constexpr std::int64_t bucket_chunks(std::int64_t ranks) {
  constexpr std::int64_t kFewest = 64;
  return ceil_div(kFewest, ranks) * ranks;
}

/// Slices of `elements[i]` elements in order, cut into buckets of so many chunks; in each, every rank owns whole chunks
/// one after another, about as many elements as the others.
std::vector<Bucket> partition_chunks(std::span<const std::int64_t> elements, std::int64_t ranks, std::int64_t chunks);
inline std::vector<Bucket> partition_chunks(std::span<const std::int64_t> elements, std::int64_t ranks) {
  return partition_chunks(elements, ranks, bucket_chunks(ranks));
}

}  // namespace baekji
