#pragma once
// Verify: holds a run against its own ledger: contract, step 0, data, and pieces of the training, replayed.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/launch.h"
#include "trainer/verify_report.h"
#include "trainer/verify_signatures.h"

namespace baekji {

struct VerifyOptions {
  std::filesystem::path run;
  SignatureOptions signatures;
  bool genesis = false;
  bool data = false;
  std::int64_t samples = 16;                                    ///< steps whose batches are checked, >= 1
  std::optional<std::pair<std::int64_t, std::int64_t>> replay;  ///< from the state of the first step to the second
  std::vector<std::string> layout;                              ///< keys of [layout] to replay under, "tensor=2"
  std::vector<std::string> against;                             ///< the same: compare with it side by side
  bool against_reference = false;                               ///< compare with the reference kernels
  std::string nonce;                                            ///< of a challenge; not empty: make one
  std::int64_t count = 0;                                       ///< steps to draw, >= 1 with a challenge
  std::vector<std::int64_t> steps;   ///< of a challenge: released steps, whose last segments are part of it
  double forged = 0.1;               ///< share of the segments that a forgery touches, in (0, 1]
  std::optional<double> max_hours;   ///< that all replays together may take, > 0
  bool from_earlier = false;         ///< replay from an older state where the one at the beginning is not there
  std::vector<std::string> require;  ///< checks that must be proved: VerifyReport::names()
  std::vector<std::string> stores;   ///< where token stores are on this machine: "NAME=PATH"
};

/// The ranks of the job that verifies.
struct VerifyJob {
  Communicator& world;
  MachineShare machine;
};

/// Throws when the options ask for nothing, or contradict one another: a mistake in the call, which says nothing of the
/// run.
void check_request(const VerifyOptions& options);

struct VerifyVerdict {
  VerifyOutcome outcome = VerifyOutcome::kFailed;
  std::string last_line;  ///< on rank 0
};
/// Makes every check that is asked for and says a line for each; `say` is called on rank 0 only. The outcome is the
/// same on every rank. Throws when a check cannot be made. Collective over the job.
VerifyVerdict verify(const VerifyOptions& options, const VerifyJob& job,
                     const std::function<void(const std::string&)>& say);

}  // namespace baekji
