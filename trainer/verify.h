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
#include "trainer/verify_signatures.h"

namespace baekji {

struct VerifyOptions {
  std::filesystem::path run;
  SignatureOptions signatures;
  bool genesis = false;
  bool data = false;
  std::int64_t samples = 16;                                    ///< steps whose batches are checked
  std::optional<std::pair<std::int64_t, std::int64_t>> replay;  ///< from the state of the first step to the second
  std::vector<std::string> layout;                              ///< keys of [layout] to replay under, "tensor=2"
  std::vector<std::string> against;                             ///< the same: compare with it side by side
  bool against_reference = false;                               ///< compare with the reference kernels
  std::string nonce;                                            ///< of a challenge; not empty: make one
  std::int64_t count = 0;                                       ///< segments to draw
  double forged = 0.1;                                          ///< share of the segments that a forgery touches
  double max_hours = 0;                                         ///< most that a replay may cost; 0: no limit
};

/// The ranks of the job that verifies.
struct VerifyJob {
  Communicator& world;
  MachineShare machine;
};

/// Makes every check that is asked for and says a line for each; `say` is called on rank 0 only. Gives whether all
/// passed. Throws when a check cannot be made. Collective over the job.
bool verify(const VerifyOptions& options, const VerifyJob& job, const std::function<void(const std::string&)>& say);

}  // namespace baekji
