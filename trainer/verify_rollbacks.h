#pragma once
// Rollbacks as a verifier prices them: what the owner threw away, and how much choice that gave her.

#include <cstdint>

#include "proof/ledger.h"
#include "trainer/verify_report.h"

namespace baekji {

struct RollbackPrice {
  std::int64_t rollbacks = 0;
  std::int64_t batches_left_out = 0;
  std::int64_t steps_thrown_away = 0;  ///< trained, and undone
  /// Sum over the rollbacks of log2 of rollback_choices(): most that could be chosen by looking at results.
  double freedom_bits = 0;
};
/// Reads the ledger's file.
RollbackPrice price_rollbacks(const Ledger& ledger);

/// What a rollback behind `last_step` steps can choose: triples (to, from, last) of different effect, n (n + 1) (n + 2)
/// / 6.
double rollback_choices(std::int64_t last_step);

/// A line "rollbacks": how many and at what price, or that there was none.
void report_rollbacks(const Ledger& ledger, VerifyReport& report);

}  // namespace baekji
