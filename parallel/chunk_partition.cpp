#include "parallel/chunk_partition.h"

#include <algorithm>

#include "core/logical_tensor.h"

namespace baekji {
namespace {

// Deals the chunks (ranges of one chunk each, no owner yet) out, and joins neighbours of one owner.
Bucket deal_out(std::span<const ChunkRange> chunks, std::int64_t ranks) {
  std::int64_t total = 0;
  for (const ChunkRange& chunk : chunks) total += chunk.count;
  Bucket bucket;
  std::vector<std::int64_t> filled(static_cast<std::size_t>(ranks), 0);
  std::int64_t before = 0;
  for (ChunkRange chunk : chunks) {
    // The rank in whose share the middle of the chunk lies.
    chunk.owner = std::min(ranks - 1, (2 * before + chunk.count) * ranks / (2 * total));
    before += chunk.count;
    std::int64_t& end = filled[static_cast<std::size_t>(chunk.owner)];
    chunk.offset = end;
    end += chunk.count;
    if (!bucket.ranges.empty() && bucket.ranges.back().slice == chunk.slice &&
        bucket.ranges.back().owner == chunk.owner) {
      bucket.ranges.back().count += chunk.count;
    } else {
      bucket.ranges.push_back(chunk);
    }
  }
  bucket.part_elements = *std::max_element(filled.begin(), filled.end());
  return bucket;
}

}  // namespace

std::vector<Bucket> partition_chunks(std::span<const std::int64_t> elements, std::int64_t ranks, std::int64_t chunks) {
  std::vector<Bucket> buckets;
  std::vector<ChunkRange> open;
  const auto close = [&] {
    if (!open.empty()) buckets.push_back(deal_out(open, ranks));
    open.clear();
  };
  for (std::size_t slice = 0; slice < elements.size(); ++slice) {
    for (std::int64_t begin = 0; begin < elements[slice]; begin += kChunkElements) {
      open.push_back({.slice = slice, .begin = begin, .count = std::min(kChunkElements, elements[slice] - begin)});
      if (std::ssize(open) >= chunks) close();
    }
  }
  close();
  return buckets;
}

}  // namespace baekji
