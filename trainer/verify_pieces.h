#pragma once
// PieceVerifier: proves pieces of a run by training them again, and says of each piece that it cannot prove what that
// would take.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "proof/challenge.h"
#include "trainer/anchors.h"
#include "trainer/replay.h"
#include "trainer/verify.h"
#include "trainer/verify_budget.h"
#include "trainer/verify_kernels.h"
#include "trainer/verify_report.h"
#include "trainer/verify_run.h"

namespace baekji {

/// What a piece came to. Ordered: of several the worst holds.
enum class PieceVerdict { kProved, kLeft, kFailed };

struct Piece {
  PieceVerdict verdict = PieceVerdict::kLeft;
  std::string text;  ///< what was compared, what differs, or what is missing
};

class PieceVerifier {
 public:
  struct Args {
    const VerifyOptions& options;
    const VerifyJob& job;
    const VerifiedRun& run;
    const RunInputs& inputs;
    const Anchors& anchors;
    const RunKernels& kernels;
  };
  explicit PieceVerifier(const Args& args);

  /// Trains a piece between two committed states again, from the state at its beginning or, with from_earlier, from an
  /// older one. Collective over the job; the verdict is the same on every rank.
  Piece prove(const Segment& segment);
  /// For `baekji open`: one step behind each state that was missed.
  const std::vector<std::int64_t>& missed() const { return missed_; }
  const Experiment& experiment() const { return experiment_; }

 private:
  Piece missing(const Segment& segment, const Anchor& nearest);
  Piece judge(const Anchor& anchor, const Segment& segment, const ReplayResult& result) const;
  Piece judge_difference(const std::string& piece, const Anchor& anchor, const Mismatch& mismatch) const;
  ReplayResult replay_from(const Anchor& anchor, std::int64_t last);
  bool fits(std::int64_t steps) const;

  Args args_;
  Experiment experiment_;
  ReplayBudget budget_;
  std::vector<std::int64_t> missed_;
};

/// The run's experiment on one plain rank, but for these keys of [layout].
Experiment under_layout(const VerifiedRun& run, const std::vector<std::string>& layout);

/// Ranks may be threads of this one process.
MachineShare share_of(const VerifyJob& job, const Communicator& world);

/// "baekji open RUN --steps 17,512".
std::string open_command(const VerifiedRun& run, const std::vector<std::int64_t>& steps);

}  // namespace baekji
