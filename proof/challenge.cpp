#include "proof/challenge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/random.h"

namespace baekji {

std::vector<std::int64_t> draw_segments(std::string_view nonce, const Digest& head, std::int64_t segments,
                                        std::int64_t count) {
  if (count < 0 || count > segments) {
    throw Error("a challenge draws different segments of the run")
        .values(fmt::format("0 to {}", segments), fmt::format("{}", count))
        .at("--count");
  }
  std::vector<std::int64_t> drawn;
  if (count == 0) return drawn;
  const KeyedPermutation order("baekji.challenge", 0, to_hex(head) + "/" + std::string(nonce),
                               static_cast<std::uint64_t>(segments));
  for (std::int64_t i = 0; i < count; ++i)
    drawn.push_back(static_cast<std::int64_t>(order(static_cast<std::uint64_t>(i))));
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

double miss_probability(std::int64_t segments, std::int64_t forged, std::int64_t count) {
  double miss = 1;
  for (std::int64_t i = 0; i < count; ++i) {
    miss *= static_cast<double>(std::max<std::int64_t>(segments - forged - i, 0)) / static_cast<double>(segments - i);
  }
  return miss;
}

std::int64_t count_for(std::int64_t segments, std::int64_t forged, double miss) {
  std::int64_t count = 0;
  while (count < segments && miss_probability(segments, forged, count) > miss) ++count;
  return count;
}

Segment segment_of(std::span<const std::int64_t> committed, std::int64_t step) {
  const auto last = std::lower_bound(committed.begin(), committed.end(), step);
  if (last == committed.begin() || last == committed.end()) {
    throw Error("no segment of the run holds this step")
        .values(fmt::format("1 to {}", committed.empty() ? 0 : committed.back()), fmt::format("{}", step));
  }
  return {.from = *std::prev(last), .last = *last};
}

std::int64_t early_zone(std::int64_t end) {
  return std::max<std::int64_t>(1, (end + 99) / 100);
}

namespace {

constexpr std::size_t kLargestMoves = 3;

// By recorded move, the largest first; equal ones by step. What is no number counts as the largest of all.
std::vector<std::int64_t> steps_by_move(const ChallengeSubject& subject) {
  std::vector<double> moves = subject.moves;
  for (double& move : moves) move = std::isnan(move) ? std::numeric_limits<double>::infinity() : move;
  std::vector<std::int64_t> steps(moves.size());
  std::iota(steps.begin(), steps.end(), 1);
  const auto move = [&](std::int64_t step) { return moves[static_cast<std::size_t>(step - 1)]; };
  std::stable_sort(steps.begin(), steps.end(), [&](std::int64_t a, std::int64_t b) { return move(a) > move(b); });
  return steps;
}

}  // namespace

std::vector<DrawnSegment> draw_challenge(std::string_view nonce, std::int64_t count, const ChallengeSubject& subject,
                                         std::span<const std::int64_t> released) {
  const std::int64_t end = subject.end();
  if (end < 1)
    throw Error("the run has nothing to challenge").values("a state root behind step 0", "none").at("ledger.jsonl");
  if (count < 1)
    throw Error("a challenge draws at least one step").values(">= 1", fmt::format("{}", count)).at("--count");
  require_equal(end, std::ssize(subject.moves), "every step up to the last committed one has a move", "ledger.jsonl");
  std::map<Segment, std::vector<std::string>> drawn;
  const auto add = [&](std::int64_t step, std::string why) {
    drawn[segment_of(subject.committed, step)].push_back(std::move(why));
  };
  for (const std::int64_t i : draw_segments(nonce, subject.head, end, std::min(count, end)))
    add(i + 1, fmt::format("step {} was drawn", i + 1));
  const std::string key = to_hex(subject.head) + "/" + std::string(nonce);
  const KeyedPermutation early("baekji.challenge.early", 0, key, static_cast<std::uint64_t>(early_zone(end)));
  const auto first = static_cast<std::int64_t>(early(0)) + 1;
  add(first, fmt::format("step {} was drawn from the first {}", first, early_zone(end)));
  std::vector<Segment> moved;
  for (const std::int64_t step : steps_by_move(subject)) {
    const Segment segment = segment_of(subject.committed, step);
    if (std::find(moved.begin(), moved.end(), segment) != moved.end()) continue;
    moved.push_back(segment);
    add(step, fmt::format("step {} moved the weights {}", step,
                          moved.size() == 1 ? "most" : fmt::format("most but {}", moved.size() - 1)));
    if (moved.size() == kLargestMoves) break;
  }
  add(end, "it ends in the last state");
  for (const std::int64_t step : released) {
    if (!std::binary_search(subject.committed.begin(), subject.committed.end(), step) || step == 0)
      throw Error("the ledger holds no state root of this step").values("a step with one", fmt::format("{}", step));
    add(step, fmt::format("it ends in the state of step {}", step));
  }
  std::vector<DrawnSegment> segments;
  for (auto& [segment, why] : drawn) segments.push_back({.segment = segment, .why = std::move(why)});
  return segments;
}

double miss_forged_segments(const ChallengeSubject& subject, std::int64_t forged, std::int64_t count) {
  std::vector<std::int64_t> lengths(subject.committed.size());
  std::adjacent_difference(subject.committed.begin(), subject.committed.end(), lengths.begin());
  lengths.erase(lengths.begin());  // of step 0, which is no segment
  std::sort(lengths.begin(), lengths.end());
  lengths.resize(static_cast<std::size_t>(std::clamp<std::int64_t>(forged, 0, std::ssize(lengths))));
  const std::int64_t steps = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  return miss_probability(subject.end(), steps, std::min(count, subject.end()));
}

}  // namespace baekji
