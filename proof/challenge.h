#pragma once
// Challenge: which segments of a run an evaluator replays, drawn from a nonce that the run's owner could not know, and
// what a forgery's chance is.

#include <cstdint>
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

}  // namespace baekji
