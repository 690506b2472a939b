#include "trainer/verify_pieces.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/untrusted_file.h"
#include "core/untrusted_json.h"
#include "parallel/gather_text.h"
#include "trainer/layout.h"
#include "trainer/run_experiment.h"

namespace baekji {
namespace {

// What each step took, in seconds, as the run's owner says. Her file may be anything.
std::vector<double> claimed_seconds(const std::filesystem::path& metrics) {
  std::vector<double> seconds;
  try {
    require_regular_file(metrics);
    std::ifstream file(metrics);
    for (std::string line; read_line(file, line, metrics.string());) {
      const auto step = try_parse_json(line);
      if (!step || !step->is_object() || !step->contains("step_s") || !step->at("step_s").is_number()) continue;
      const auto value = step->at("step_s").get<double>();
      if (std::isfinite(value) && value > 0) seconds.push_back(value);
    }
  } catch (const Error&) {
    seconds.clear();  // no estimate then
  }
  return seconds;
}

// The median; 0 when there are none.
double claimed_seconds_per_step(const RunFolder& folder) {
  std::vector<double> seconds = claimed_seconds(folder.metrics());
  if (seconds.empty()) return 0;
  const auto middle = seconds.begin() + std::ssize(seconds) / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

// What no kernel set decides: a difference is one on any machine.
bool follows_from_the_contract(const std::vector<std::string>& members) {
  static const std::set<std::string> kMembers{"batch_root", "learning_rate", "position", "tokens"};
  return std::any_of(members.begin(), members.end(), [](const std::string& name) { return kMembers.contains(name); });
}

}  // namespace

Experiment under_layout(const VerifiedRun& run, const std::vector<std::string>& layout) {
  Experiment experiment = load_run_experiment(run.folder.root, layout);
  experiment.data = run.experiment.data;
  experiment.run = run.experiment.run;
  return experiment;
}

MachineShare share_of(const VerifyJob& job, const Communicator& world) {
  return job.world.size() == world.size() ? job.machine : MachineShare{.ranks = world.size(), .rank = world.rank()};
}

std::string open_command(const VerifiedRun& run, const std::vector<std::int64_t>& steps) {
  return fmt::format("baekji open {} --steps {}", run.folder.root.string(), fmt::join(steps, ","));
}

PieceVerifier::PieceVerifier(const Args& args)
    : args_(args), experiment_(under_layout(args.run, args.options.layout)), budget_(args.options.max_hours) {}

Piece PieceVerifier::missing(const Segment& segment, const Anchor& nearest) {
  missed_.push_back(segment.from + 1);
  const std::int64_t steps = segment.last - nearest.step();
  const double claimed = claimed_seconds_per_step(args_.run.folder);
  std::string cost = fmt::format("{} steps", steps);
  if (const auto hours = budget_.hours_for(steps))
    cost += fmt::format(", {:.3g} h by what was measured here", *hours);
  else if (claimed > 0)
    cost += fmt::format(", an estimated {:.3g} h by what the run's owner says that a step took",
                        claimed * static_cast<double>(steps) / 3600);
  return {.verdict = PieceVerdict::kLeft,
          .text = fmt::format("steps {} to {}: the state of step {} is not there: `{}` makes it, or --from-earlier "
                              "replays from step {} ({})",
                              segment.from + 1, segment.last, segment.from, open_command(args_.run, {segment.from + 1}),
                              nearest.step(), cost)};
}

// Every rank goes the way of rank 0's clock.
bool PieceVerifier::fits(std::int64_t steps) const {
  return gather_text(args_.job.world, budget_.fits(steps) ? "yes" : "no").front() == "yes";
}

ReplayResult PieceVerifier::replay_from(const Anchor& anchor, std::int64_t last) {
  ReplayResult result;
  const auto begin = std::chrono::steady_clock::now();
  std::function<bool()> may_go_on;
  if (args_.options.max_hours) may_go_on = [this] { return !budget_.over(); };
  for_each_rank(experiment_, args_.job.world.size(), &args_.job.world, [&](Communicator& world) {
    const ReplayResult mine = replay({.experiment = experiment_,
                                      .inputs = args_.inputs,
                                      .ledger = args_.run.ledger,
                                      .anchor = anchor,
                                      .last = last,
                                      .kernels = {},
                                      .machine = share_of(args_.job, world),
                                      .may_go_on = may_go_on},
                                     world);
    // Ranks may be threads, which must not all write; a job of processes needs it in each.
    if (world.rank() == 0 || args_.job.world.size() > 1) result = mine;
  });
  budget_.measured(result.records, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
                   result.seconds);
  return result;
}

Piece PieceVerifier::prove(const Segment& segment) {
  budget_.start();
  const Anchor& anchor = anchor_before(args_.anchors, segment.from);
  if (anchor.step() < segment.from && !args_.options.from_earlier) return missing(segment, anchor);
  const std::int64_t steps = segment.last - anchor.step();
  if (!fits(steps)) {
    return {.verdict = PieceVerdict::kLeft,
            .text = fmt::format("steps {} to {}: does not fit into what is left of {:.3g} h: {} steps",
                                segment.from + 1, segment.last, budget_.hours(), steps)};
  }
  return judge(anchor, segment, replay_from(anchor, segment.last));
}

Piece PieceVerifier::judge(const Anchor& anchor, const Segment& segment, const ReplayResult& result) const {
  const std::string piece =
      fmt::format("steps {} to {} under {}", anchor.step() + 1, segment.last, describe(experiment_.layout));
  if (result.mismatch) return judge_difference(piece, anchor, *result.mismatch);
  if (result.out_of_time) {
    return {.verdict = PieceVerdict::kLeft,
            .text = fmt::format("{}: the {:.3g} h ended after {} of {} steps", piece, budget_.hours(), result.records,
                                segment.last - anchor.step())};
  }
  const std::string done = fmt::format("{}: {} records and {} state roots again", piece, result.records, result.roots);
  if (!result.complete(segment.last - anchor.step())) {
    return {.verdict = PieceVerdict::kFailed,
            .text = fmt::format("{}, of {} records, {}", done, segment.last - anchor.step(),
                                result.root_at_end ? "and its last state" : "and no state root at its end")};
  }
  const PieceKernels kernels = args_.kernels.of(anchor.step(), segment.last);
  if (!kernels.inadmissible.empty()) {
    return {.verdict = PieceVerdict::kLeft,
            .text = fmt::format("{}, and still not proved: computed under kernel set {}, which is not among the "
                                "admissible ones",
                                done, fmt::join(kernels.inadmissible, ", "))};
  }
  return {.verdict = PieceVerdict::kProved, .text = done};
}

Piece PieceVerifier::judge_difference(const std::string& piece, const Anchor& anchor, const Mismatch& m) const {
  const std::string text = fmt::format(
      "{}: step {} differs in {}{}\n                 ledger   {}\n                 replay   {}", piece, m.step,
      fmt::join(m.members, ", "), m.at_start ? " before anything was trained" : "", m.recorded, m.computed);
  const PieceKernels kernels = args_.kernels.of(anchor.step(), m.step);
  if (m.at_start || kernels.comparable || follows_from_the_contract(m.members))
    return {.verdict = PieceVerdict::kFailed, .text = text};
  return {.verdict = PieceVerdict::kLeft,
          .text = fmt::format("not proved on this machine, which has another kernel set ({}): {}",
                              fmt::join(kernels.other, "; "), text)};
}

}  // namespace baekji
