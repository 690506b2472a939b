#pragma once
// How chunks of parameters are dealt out to data ranks, in buckets that travel as one message. Pure values.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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

/// Elements of a bucket, about: large enough to use the links, small enough to begin while others are computed.
inline constexpr std::int64_t kBucketElements = std::int64_t{1} << 22;

/// Slices of `elements[i]` elements in order, cut into buckets of at least `bucket_elements`; in each, every rank owns
/// whole chunks one after another, about as many elements as the others.
std::vector<Bucket> partition_chunks(std::span<const std::int64_t> elements, std::int64_t ranks,
                                     std::int64_t bucket_elements = kBucketElements);

}  // namespace baekji
