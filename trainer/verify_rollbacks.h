#pragma once
// What rollbacks did to a run, and what they are worth to an owner who would choose the order of the data after the
// beacon has fixed it. docs/formats/ledger.md, "Rollback".

#include "proof/ledger.h"
#include "trainer/verify_report.h"

namespace baekji {

/// Says how often the run went back and at what price; passes only when it never did.
void report_rollbacks(const Ledger& ledger, VerifyReport& report);

}  // namespace baekji
