#pragma once
// Rollbacks as a verifier prices them: what the owner threw away, and how much choice that gave her.

#include <cstdint>
#include <optional>

#include "proof/ledger.h"
#include "trainer/verify_report.h"

namespace baekji {

struct RollbackPrice {
  std::int64_t rollbacks = 0;
  std::int64_t batches_left_out = 0;
  std::int64_t steps_thrown_away = 0;  ///< trained, and undone
  /// Sum over the rollbacks of log2 of the number of choices (to, from, last) that the ledger's grammar allowed there:
  /// an upper bound of what could be chosen by looking at results.
  double freedom_bits = 0;
};
/// `max_skipped_batches`: the contract's limit, where it has one. Reads the ledger's file.
RollbackPrice price_rollbacks(const Ledger& ledger, std::optional<std::int64_t> max_skipped_batches);

/// The number of choices at a rollback: triples (to, from, last) with 0 <= to <= last_step and
/// batch(to) < from <= last <= batch(last_step), such that at most `budget` further batches are left out.
double rollback_choices(const SkippedBatches& skipped, std::int64_t last_step, std::optional<std::int64_t> budget);

/// A line "rollbacks": how many and at what price, or that there was none.
void report_rollbacks(const Ledger& ledger, std::optional<std::int64_t> max_skipped_batches, VerifyReport& report);

}  // namespace baekji
