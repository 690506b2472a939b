#pragma once
// SkippedBatches: which batch of the batch order an optimizer step trains on, after rollbacks left some out.
// docs/formats/ledger.md, "Rollback".

#include <cstdint>
#include <vector>

namespace baekji {

/// A range of batches of the batch order, both ends included.
struct BatchRange {
  std::int64_t from = 0;
  std::int64_t to = 0;

  bool operator==(const BatchRange&) const = default;
};

/// An immutable value: the union of ranges.
class SkippedBatches {
 public:
  SkippedBatches() = default;
  /// Ranges in any order; they may overlap. Throws when one is empty or begins before 1.
  explicit SkippedBatches(std::vector<BatchRange> ranges);

  /// The `step`-th batch (from 1) that is not skipped; 0 for step 0.
  std::int64_t batch_of(std::int64_t step) const;
  /// How many batches they are.
  std::int64_t count() const;
  /// Ascending, apart from one another.
  const std::vector<BatchRange>& ranges() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }

 private:
  std::vector<BatchRange> ranges_;
};

}  // namespace baekji
