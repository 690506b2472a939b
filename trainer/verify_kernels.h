#pragma once
// Kernel sets of a run: which machine kind and program computed which steps, which of them the run's owner bound
// herself to, and what a replay on this machine can then say.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/digest.h"
#include "proof/ledger.h"
#include "proof/log_keys.h"
#include "trainer/verify_report.h"

namespace baekji {

/// What is known of the kernel sets that computed a piece of a run.
struct PieceKernels {
  bool comparable = true;                 ///< all of them are this machine's: a difference of bits is a forgery
  std::vector<std::string> other;         ///< one text for each that is not: how it differs
  std::vector<std::string> inadmissible;  ///< digests of those that nobody vouched for before the run
};

class RunKernels {
 public:
  /// The ledger outlives the object.
  RunKernels(const Ledger& ledger, AdmissibleKernelSets admissible);

  /// Where the run is replayed.
  void replay_under(const KernelSet& mine) { mine_ = mine; }
  /// Of the steps (from, last].
  PieceKernels of(std::int64_t from, std::int64_t last) const;

  /// One line: which kernel sets computed the run's steps, and whether each is admissible (and this machine's, after
  /// replay_under()).
  void report(VerifyReport& report) const;

 private:
  struct Part {
    std::int64_t first = 0;  ///< step; until the next part begins
    Digest digest{};
    const KernelSet* kernels = nullptr;
  };
  bool is_mine(const Part& part) const { return !mine_ || *part.kernels == *mine_; }

  const Ledger& ledger_;
  AdmissibleKernelSets admissible_;
  std::optional<KernelSet> mine_;
  std::vector<Part> parts_;
};

}  // namespace baekji
