#include "proof/skipped_batches.h"

#include <algorithm>

#include "core/error.h"

namespace baekji {

SkippedBatches::SkippedBatches(std::vector<BatchRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const BatchRange& a, const BatchRange& b) { return a.from < b.from; });
  for (const BatchRange& range : ranges) {
    if (range.from < 1 || range.to < range.from) {
      throw Error("not a range of batches")
          .values("1 <= from <= to", fmt::format("from {} to {}", range.from, range.to));
    }
    if (!ranges_.empty() && range.from <= ranges_.back().to + 1)
      ranges_.back().to = std::max(ranges_.back().to, range.to);
    else
      ranges_.push_back(range);
  }
}

std::int64_t SkippedBatches::count() const {
  std::int64_t count = 0;
  for (const BatchRange& range : ranges_) count += range.to - range.from + 1;
  return count;
}

std::int64_t SkippedBatches::batch_of(std::int64_t step) const {
  std::int64_t batch = step;
  for (const BatchRange& range : ranges_) {
    if (step == 0 || range.from > batch) break;
    batch += range.to - range.from + 1;
  }
  return batch;
}

}  // namespace baekji
