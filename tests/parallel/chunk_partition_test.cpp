#include "parallel/chunk_partition.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/logical_tensor.h"

namespace baekji {
namespace {

// Every element is in one range, ranges begin and end at chunks, and parts do not overlap.
void expect_partition(const std::vector<std::int64_t>& elements, std::int64_t ranks, std::int64_t chunks) {
  std::vector<std::int64_t> next(elements.size(), 0);
  std::int64_t largest = 0;
  for (const Bucket& bucket : partition_chunks(elements, ranks, chunks)) {
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
  EXPECT_LE(largest, chunks * kChunkElements);
}

TEST(ChunkPartition, EveryElementHasOneOwnerInABalancedBucket) {
  const std::vector<std::int64_t> sizes{256, 65536, 65537, 3 * 65536 + 5, 8, 1 << 20, 1, 131072, 700000};
  int checked = 0;
  for (std::int64_t ranks = 1; ranks <= 9; ++ranks) {
    for (const std::int64_t chunks : {std::int64_t{1}, std::int64_t{2}, std::int64_t{16}, bucket_chunks(ranks)}) {
      expect_partition(sizes, ranks, chunks);
      expect_partition({7}, ranks, chunks);
      expect_partition({}, ranks, chunks);
      checked += 3;
    }
  }
  std::printf("%d partitions\n", checked);
}

// A bucket of fewer chunks than ranks leaves some without any, and the others with twice their share.
TEST(ChunkPartition, ManyRanksOwnAlikeMuch) {
  const std::vector<std::int64_t> slices(24, std::int64_t{8192} * 29568 / 8);
  for (const std::int64_t ranks : {1, 2, 31, 32, 64, 100, 128, 512}) {
    std::vector<std::int64_t> owned(static_cast<std::size_t>(ranks));
    std::int64_t sent = 0, total = 0;
    for (const Bucket& bucket : partition_chunks(slices, ranks)) {
      sent += bucket.part_elements * ranks;
      for (const ChunkRange& range : bucket.ranges) {
        owned[static_cast<std::size_t>(range.owner)] += range.count;
        total += range.count;
      }
    }
    const auto [least, most] = std::minmax_element(owned.begin(), owned.end());
    const auto mean = static_cast<double>(total) / static_cast<double>(ranks);
    std::printf("%d ranks: from %.3f to %.3f of a mean share, %.3f of the elements travel\n", static_cast<int>(ranks),
                static_cast<double>(*least) / mean, static_cast<double>(*most) / mean,
                static_cast<double>(sent) / static_cast<double>(total));
    EXPECT_GE(static_cast<double>(*least), 0.8 * mean);
    EXPECT_LE(static_cast<double>(*most), 1.2 * mean);
    EXPECT_LE(static_cast<double>(sent), 1.2 * static_cast<double>(total));
  }
}

}  // namespace
}  // namespace baekji
