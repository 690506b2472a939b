#pragma once
// Challenge: which segments of a run an evaluator replays, drawn from a nonce that the run's owner could not know, and
// what a forgery's chance is. Nothing here looks at what a run folder holds: a draw that files could move is the
// owner's.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"

namespace baekji {

/// `count` different segments of [0, segments), ascending. A pure function of the nonce and of the ledger's head, which
/// must be fixed before the nonce is known. Throws unless 0 <= count <= segments.
std::vector<std::int64_t> draw_segments(std::string_view nonce, const Digest& head, std::int64_t segments,
                                        std::int64_t count);

/// The probability that `count` different segments out of `segments`, drawn evenly, hold none of `forged` ones:
/// C(segments - forged, count) / C(segments, count).
double miss_probability(std::int64_t segments, std::int64_t forged, std::int64_t count);

/// The least count whose miss_probability is at most `miss`; `segments` when only all of them are enough.
std::int64_t count_for(std::int64_t segments, std::int64_t forged, double miss);

/// The steps between neighbouring committed states (step 0, and every step whose state root the ledger holds): from the
/// state of `from` to that of `last`.
struct Segment {
  std::int64_t from = 0;
  std::int64_t last = 0;

  auto operator<=>(const Segment&) const = default;
};

/// What a challenge is drawn over: all of it stands in the ledger.
struct ChallengeSubject {
  Digest head{};
  std::vector<std::int64_t> committed;  ///< steps, ascending; the first is 0
  std::vector<double> moves;            ///< recorded move of step i + 1, for every step up to the last committed one

  /// The last committed step: draws are over steps 1 to it.
  std::int64_t end() const { return committed.empty() ? 0 : committed.back(); }
};

/// The segment that a step stands for; 1 <= step <= end().
Segment segment_of(std::span<const std::int64_t> committed, std::int64_t step);

/// The steps of the early zone: the first hundredth, at least one.
std::int64_t early_zone(std::int64_t end);

struct DrawnSegment {
  Segment segment;
  std::vector<std::string> why;  ///< "step 17 was drawn", "its last state is the end state"...
};
/// The segments, ascending and each once, of: `count` different steps of [1, end] by nonce and head (all of them where
/// there are fewer), one step of the early zone by nonce and head, the three largest recorded moves that lie in
/// different segments, the last step, and each step of `released`. Throws unless count >= 1, every released step is
/// committed, and end() >= 1.
std::vector<DrawnSegment> draw_challenge(std::string_view nonce, std::int64_t count, const ChallengeSubject& subject,
                                         std::span<const std::int64_t> released);

/// The probability that the steps drawn evenly (the early, largest and last ones aside) miss `forged` whole segments:
/// the shortest ones, which are the hardest to hit.
double miss_forged_segments(const ChallengeSubject& subject, std::int64_t forged, std::int64_t count);

}  // namespace baekji
