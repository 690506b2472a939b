#include "parallel/chunk_partition.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/logical_tensor.h"

namespace baekji {
namespace {

// Every element is in one range, ranges begin and end at chunks, and parts do not overlap.
void expect_partition(const std::vector<std::int64_t>& elements, std::int64_t ranks, std::int64_t bucket_elements) {
  std::vector<std::int64_t> next(elements.size(), 0);
  std::int64_t largest = 0;
  for (const Bucket& bucket : partition_chunks(elements, ranks, bucket_elements)) {
    std::vector<std::int64_t> filled(static_cast<std::size_t>(ranks), 0);
    std::int64_t total = 0;
    for (const ChunkRange& range : bucket.ranges) {
      ASSERT_EQ(range.begin, next[range.slice]) << "in order, without gaps";
      ASSERT_EQ(range.begin % kChunkElements, 0);
      next[range.slice] += range.count;
      ASSERT_TRUE(range.count % kChunkElements == 0 || next[range.slice] == elements[range.slice]);
      std::int64_t& end = filled[static_cast<std::size_t>(range.owner)];
      ASSERT_EQ(range.offset, end);
      end += range.count;
      total += range.count;
    }
    EXPECT_EQ(bucket.part_elements, *std::max_element(filled.begin(), filled.end()));
    EXPECT_LE(bucket.part_elements, total / ranks + kChunkElements + 1)
        << "no rank has more than its share and a chunk";
    largest = std::max(largest, total);
  }
  EXPECT_EQ(next, elements);
  EXPECT_LT(largest, bucket_elements + kChunkElements);
}

TEST(ChunkPartition, EveryElementHasOneOwnerInABalancedBucket) {
  const std::vector<std::int64_t> sizes{256, 65536, 65537, 3 * 65536 + 5, 8, 1 << 20, 1, 131072, 700000};
  int checked = 0;
  for (std::int64_t ranks = 1; ranks <= 9; ++ranks) {
    for (const std::int64_t bucket : {std::int64_t{1}, std::int64_t{100000}, std::int64_t{1} << 20, kBucketElements}) {
      expect_partition(sizes, ranks, bucket);
      expect_partition({7}, ranks, bucket);
      expect_partition({}, ranks, bucket);
      checked += 3;
    }
  }
  std::printf("%d partitions\n", checked);
}

}  // namespace
}  // namespace baekji
