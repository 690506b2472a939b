#include "proof/skipped_batches.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"

namespace baekji {
namespace {

TEST(SkippedBatchesTest, StepsTakeTheBatchesThatAreLeft) {
  const std::vector<std::vector<BatchRange>> cases{
      {}, {{4, 6}}, {{1, 1}}, {{10, 12}, {4, 6}}, {{4, 6}, {7, 7}}, {{4, 9}, {5, 6}}, {{4, 6}, {6, 8}, {1, 2}}};
  int checked = 0;
  for (const auto& ranges : cases) {
    const SkippedBatches skipped(ranges);
    std::set<std::int64_t> left_out;
    for (const BatchRange& range : ranges) {
      for (std::int64_t b = range.from; b <= range.to; ++b) left_out.insert(b);
    }
    EXPECT_EQ(skipped.batch_of(0), 0);
    std::int64_t batch = 0;
    for (std::int64_t step = 1; step <= 30; ++step) {
      do ++batch;
      while (left_out.contains(batch));
      EXPECT_EQ(skipped.batch_of(step), batch) << step;
      ++checked;
    }
  }
  std::printf("checked %d steps over %zu sets of ranges\n", checked, cases.size());
}

TEST(SkippedBatchesTest, RefusesWhatIsNoRange) {
  EXPECT_THROW(SkippedBatches({{0, 3}}), Error);
  EXPECT_THROW(SkippedBatches({{5, 4}}), Error);
  EXPECT_EQ(SkippedBatches({{7, 8}, {2, 3}, {4, 4}}).ranges(), (std::vector<BatchRange>{{2, 4}, {7, 8}}));
}

}  // namespace
}  // namespace baekji
