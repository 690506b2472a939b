#pragma once
// The states that lie in a run folder, by themselves: each is the one whose root the ledger holds, and neighbours are
// no further apart than the recorded moves of the steps between them allow.

#include "core/thread_pool.h"
#include "trainer/anchors.h"
#include "trainer/verify_report.h"
#include "trainer/verify_run.h"

namespace baekji {

/// Reads every state that is there, twice. Not collective.
void verify_states(const VerifiedRun& run, const Anchors& anchors, ThreadPool& pool, VerifyReport& report);

}  // namespace baekji
