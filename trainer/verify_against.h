#pragma once
// Side by side for `baekji verify --against`: one layout, or the reference kernels, against another.

#include "trainer/anchors.h"
#include "trainer/verify.h"
#include "trainer/verify_run.h"

namespace baekji {

struct AgainstArgs {
  const VerifyOptions& options;
  const VerifyJob& job;
  const VerifiedRun& run;
  const RunInputs& inputs;
  const Anchors& anchors;
};
/// Collective over the job. It compares two executions of today, and proves nothing of the ledger.
void verify_against(const AgainstArgs& args, VerifyReport& report);

}  // namespace baekji
