#include "trainer/verify_rollbacks.h"

namespace baekji {

void report_rollbacks(const Ledger& ledger, VerifyReport& report) {
  const RollbackAccount& account = ledger.rollbacks();
  if (account.rollbacks == 0) {
    report.pass("rollbacks", "none", "no rollback");
    return;
  }
  report.note("rollbacks",
              fmt::format("{} rollbacks, {} batches left out, {} steps trained and thrown away; the "
                          "owner's freedom: at most {:.1f} bits",
                          account.rollbacks, ledger.skipped().count(), account.steps_undone, account.freedom_bits));
  for (const BatchRange& range : ledger.skipped().ranges())
    report.note("rollbacks", fmt::format("batches {} to {} were left out", range.from, range.to));
}

}  // namespace baekji
