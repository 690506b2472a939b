#pragma once
// VerifiedRun: a run folder whose ledger and contract hold together, opened for further checks.

#include <string>

#include "core/thread_pool.h"
#include "proof/ledger.h"
#include "trainer/experiment.h"
#include "trainer/run_history.h"
#include "trainer/run_inputs.h"
#include "trainer/verify_report.h"

namespace baekji {

struct VerifiedRun {
  RunFolder folder;
  Experiment experiment;
  Ledger ledger;
  std::string contract;  ///< canonical bytes
  std::uint64_t seed = 0;
};

/// Reads the ledger, the contract and the experiment, and checks that they belong together (data roots aside, which
/// open_inputs() checks). Throws on the first thing that is wrong.
VerifiedRun open_verified(const std::filesystem::path& folder, VerifyReport& report);

/// Step 0 from the seed, a slice at a time, against the ledger.
void verify_genesis(const VerifiedRun& run, ThreadPool& pool, VerifyReport& report);

/// The data: its inputs are those of the contract, the sampled steps' batches are those of the ledger, and every
/// document of every store is as its root says.
void verify_data(const VerifiedRun& run, const RunInputs& inputs, const std::string& nonce, std::int64_t samples,
                 VerifyReport& report);

/// The run's inputs; throws when they do not make the ledger's contract.
RunInputs open_verified_inputs(const VerifiedRun& run);

}  // namespace baekji
