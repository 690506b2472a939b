#include "trainer/verify_challenge.h"

#include <cmath>

#include "trainer/verify_states.h"

namespace baekji {
namespace {

void tell_piece(std::string_view check, const Piece& piece, const std::string& why, VerifyReport& report) {
  const std::string text = why.empty() ? piece.text : fmt::format("{} ({})", piece.text, why);
  switch (piece.verdict) {
    case PieceVerdict::kProved:
      report.tell("ok", check, text);
      break;
    case PieceVerdict::kLeft:
      report.tell("left", check, text);
      break;
    case PieceVerdict::kFailed:
      report.fail(check, text);
      break;
  }
}

// "a forgery of the 1 shortest segment stays unseen with probability 0.9": what the even draw is worth.
std::string odds(const ChallengeSubject& subject, std::int64_t count, double share) {
  const auto segments = std::ssize(subject.committed) - 1;
  const auto forged =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(share * static_cast<double>(segments))));
  return fmt::format("the draw misses a forgery of 1 segment with probability {:.3g}, of {} ({:.3g}%) with {:.3g}",
                     miss_forged_segments(subject, 1, count), forged, share * 100,
                     miss_forged_segments(subject, forged, count));
}

std::string steps_of(const Segment& segment) {
  return fmt::format("{}-{}", segment.from + 1, segment.last);
}

// Fact and line of a whole challenge, after its segments.
void conclude(const ChallengeArgs& args, std::size_t total, const std::vector<std::string>& left, std::size_t failed,
              const std::vector<std::int64_t>& missed, VerifyReport& report) {
  const std::size_t proved = total - left.size() - failed;
  if (proved == total) {
    report.pass("challenge", fmt::format("{} segments replayed", total), fmt::format("challenge ({} segments)", total));
    return;
  }
  if (proved > 0)
    report.pass("replayed", fmt::format("{} of {} segments", proved, total),
                fmt::format("{} of the {} segments of the challenge", proved, total));
  if (failed > 0) report.fail("challenge", fmt::format("{} of {} segments did not replay", failed, total));
  if (left.empty()) return;
  std::string text =
      fmt::format("{} of {} segments were not proved: steps {}", left.size(), total, fmt::join(left, ", "));
  if (!missed.empty()) text += fmt::format("; the states that are missing: `{}`", open_command(args.run, missed));
  report.left("challenge", text);
}

}  // namespace

ChallengeSubject challenge_subject(const Ledger& ledger) {
  ChallengeSubject subject{.head = ledger.head()};
  for (const auto& [step, root] : ledger.state_roots()) subject.committed.push_back(step);
  for (std::int64_t step = 1; step <= subject.end(); ++step) subject.moves.push_back(ledger.move_of(step));
  return subject;
}

void verify_challenge(const ChallengeArgs& args, PieceVerifier& pieces, VerifyReport& report) {
  const ChallengeSubject subject = challenge_subject(args.run.ledger);
  const std::int64_t last_step = args.run.ledger.last_step();
  if (subject.end() < last_step) {
    report.left("challenge", fmt::format("steps {} to {}: no state root stands in the ledger behind them, so that "
                                         "nothing can be replayed against it",
                                         subject.end() + 1, last_step));
  }
  if (subject.end() == 0) {
    if (last_step == 0) report.left("challenge", "the run has no step");
    return;
  }
  for (const std::int64_t step : args.options.steps) {
    if (step > 0 && args.run.ledger.state_root_of(step)) continue;
    report.fail("challenge",
                fmt::format("the ledger holds no state root of step {}: nothing of that step is this run's", step));
    return;
  }
  const std::vector<DrawnSegment> drawn = draw_challenge(args.nonce, args.options.count, subject, args.options.steps);
  report.note("challenge", fmt::format("{} of {} segments, drawn by nonce {} and head {}; {}", drawn.size(),
                                       subject.committed.size() - 1, args.nonce, to_hex(subject.head),
                                       odds(subject, args.options.count, args.options.forged)));
  std::vector<std::string> left;
  std::size_t failed = 0;
  for (const DrawnSegment& segment : drawn) {
    const Piece piece = pieces.prove(segment.segment);
    tell_piece("segment", piece, fmt::format("{}", fmt::join(segment.why, ", ")), report);
    if (piece.verdict == PieceVerdict::kLeft) left.push_back(steps_of(segment.segment));
    if (piece.verdict == PieceVerdict::kFailed) ++failed;
  }
  conclude(args, drawn.size(), left, failed, pieces.missed(), report);
}

void verify_replay(const ChallengeArgs& args, PieceVerifier& pieces, VerifyReport& report) {
  const auto [wanted_from, wanted_last] = *args.options.replay;
  const auto& roots = args.run.ledger.state_roots();
  const std::int64_t from = std::prev(roots.upper_bound(wanted_from))->first;
  const auto end = roots.lower_bound(wanted_last);
  if (end == roots.end()) {
    report.left("replay", fmt::format("steps {} to {}: no state root stands in the ledger at or behind step {}",
                                      wanted_from + 1, wanted_last, wanted_last));
    return;
  }
  if (from < wanted_from || end->first > wanted_last) {
    report.note("replay", fmt::format("the ledger holds no state root of {}: steps {} to {} instead",
                                      from < wanted_from ? fmt::format("step {}", wanted_from)
                                                         : fmt::format("step {}", wanted_last),
                                      from + 1, end->first));
  }
  const Piece piece = pieces.prove({.from = from, .last = end->first});
  switch (piece.verdict) {
    case PieceVerdict::kProved:
      report.pass("replay", piece.text, fmt::format("replay of steps {} to {}", from + 1, end->first));
      break;
    case PieceVerdict::kLeft:
      report.left("replay", piece.text);
      break;
    case PieceVerdict::kFailed:
      report.fail("replay", piece.text);
      break;
  }
}

}  // namespace baekji
