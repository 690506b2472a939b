#pragma once
// The challenge of `baekji verify`: segments drawn by the evaluator's nonce, replayed.

#include "trainer/verify_pieces.h"

namespace baekji {

/// What a challenge of this run is drawn over.
ChallengeSubject challenge_subject(const Ledger& ledger);

struct ChallengeArgs {
  const VerifyOptions& options;
  const VerifiedRun& run;
  const std::string& nonce;
};
/// Draws and replays, with a line for each segment. Collective over the job.
void verify_challenge(const ChallengeArgs& args, PieceVerifier& pieces, VerifyReport& report);

/// The piece of --replay A:B: from the committed state at or before A to the one at or behind B. Collective.
void verify_replay(const ChallengeArgs& args, PieceVerifier& pieces, VerifyReport& report);

}  // namespace baekji
