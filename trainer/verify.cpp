#include "trainer/verify.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "core/untrusted_file.h"
#include "core/untrusted_json.h"
#include "parallel/gather_text.h"
#include "proof/challenge.h"
#include "proof/genesis.h"
#include "trainer/layout.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"
#include "trainer/replay.h"
#include "trainer/run_experiment.h"
#include "trainer/side_by_side.h"
#include "trainer/verify_run.h"

namespace baekji {
namespace {

// Every segment that begins before this step is part of every challenge: a foreign start does not hide in a draw.
constexpr std::int64_t kEarlySteps = 50;
// So are the segments in which the weights moved furthest per step.
constexpr std::size_t kLargestMoves = 3;

struct Segment {
  Anchor from;
  std::int64_t last = 0;
  double move = 0;  ///< root mean square change of a master weight, per step
};

// What decides no bit is one plain rank, and then what was asked for; the rest is as it was opened.
Experiment under_layout(const VerifiedRun& run, const std::vector<std::string>& layout) {
  Experiment experiment = load_run_experiment(run.folder.root, layout);
  experiment.data = run.experiment.data;
  experiment.run = run.experiment.run;
  return experiment;
}

// The median of the run's own steps, in seconds; 0 when it left no metrics.
double seconds_per_step(const RunFolder& folder) {
  if (!posix_file_system().exists(folder.metrics())) return 0;
  require_regular_file(folder.metrics());
  std::ifstream file(folder.metrics());
  std::vector<double> seconds;
  for (std::string line; read_line(file, line, folder.metrics().string());) {
    const auto step = try_parse_json(line).value_or(nlohmann::json());
    if (step.is_object() && step.contains("step_s") && step["step_s"].is_number())
      seconds.push_back(step["step_s"].get<double>());
  }
  if (seconds.empty()) return 0;
  const auto middle = seconds.begin() + std::ssize(seconds) / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

class Verification {
 public:
  Verification(const VerifyOptions& options, const VerifyJob& job, VerifyReport& report)
      : options_(options), job_(job), report_(report), run_(open_verified(options.run, report)) {
    nonce_ = options.nonce;
    if (nonce_.empty() && leads()) nonce_ = fresh_nonce();
  }

  void go() {
    if (leads()) check_alone();
    const bool trains =
        options_.replay || !options_.against.empty() || options_.against_reference || options_.count > 0;
    if (!trains) return;
    if (!inputs_) inputs_.emplace(open_verified_inputs(run_));
    anchors_ = anchors_of(run_.folder, run_.ledger, [&](const std::string& text) { report_.fail("anchors", text); });
    compare_kernel_sets();
    if (!options_.against.empty() || options_.against_reference)
      side_by_side();
    else if (options_.replay)
      replay_piece(options_.replay->first, options_.replay->second);
    if (options_.count > 0) challenge();
  }

 private:
  bool leads() const { return job_.world.rank() == 0; }

  void check_alone() {
    ThreadPool pool(thread_count(run_.experiment.layout, job_.machine.ranks));
    verify_signatures(run_, options_.signatures, report_);
    if (options_.genesis) verify_genesis(run_, pool, report_);
    if (!options_.data) return;
    inputs_.emplace(open_verified_inputs(run_));
    verify_data(run_, *inputs_, nonce_, options_.samples, report_);
  }

  void compare_kernel_sets() {
    ThreadPool pool(1);
    const KernelSet mine = kernel_set_of(*make_kernels(run_.experiment.layout, pool, job_.machine));
    const auto differences = kernel_set_differences(run_.ledger.genesis().kernel_set, mine);
    if (!differences.empty())
      report_.note("kernels",
                   fmt::format("not comparable bit for bit: another kernel set ({})", fmt::join(differences, "; ")));
  }

  double hours(std::int64_t steps) const { return seconds_per_step(run_.folder) * static_cast<double>(steps) / 3600; }

  void require_affordable(const Anchor& anchor, std::int64_t wanted, std::int64_t last) {
    const double cost = hours(last - anchor.step);
    if (anchor.step < wanted) {
      report_.note("anchor", fmt::format("no state of step {} is kept: replay from step {} needed, cost {:.3g} h",
                                         wanted, anchor.step, cost));
    }
    if (options_.max_hours <= 0 || cost <= options_.max_hours) return;
    throw Error("the replay would take longer than allowed")
        .values(fmt::format("at most {:.3g} h", options_.max_hours), fmt::format("{:.3g} h", cost))
        .at("--max-hours");
  }

  // Ranks may be threads of this one process.
  MachineShare share_of(const Communicator& world) const {
    return job_.world.size() == world.size() ? job_.machine : MachineShare{.ranks = world.size(), .rank = world.rank()};
  }

  // True when every record of the piece was given again.
  bool replay_from(const Experiment& experiment, const Anchor& anchor, std::int64_t last) {
    ReplayResult result;
    for_each_rank(experiment, job_.world.size(), &job_.world, [&](Communicator& world) {
      const ReplayResult mine = replay({.experiment = experiment,
                                        .inputs = *inputs_,
                                        .ledger = run_.ledger,
                                        .anchor = anchor,
                                        .last = last,
                                        .kernels = {},
                                        .machine = share_of(world)},
                                       world);
      if (world.rank() == 0) result = mine;
    });
    const std::string piece =
        fmt::format("steps {} to {} under {}", anchor.step + 1, last, describe(experiment.layout));
    if (!result.mismatch) {
      report_.pass("replay",
                   fmt::format("{}: {} records and {} state roots again", piece, result.records, result.roots));
      return true;
    }
    const Mismatch& m = *result.mismatch;
    report_.fail("replay",
                 fmt::format("{}: step {} differs in {}\n                 ledger   {}\n                 replay   {}",
                             piece, m.step, fmt::join(m.members, ", "), m.recorded, m.computed));
    return false;
  }

  void replay_piece(std::int64_t first, std::int64_t last) {
    if (last > run_.ledger.last_step()) {
      throw Error("the ledger does not reach that step")
          .values(fmt::format("at most {}", run_.ledger.last_step()), fmt::format("{}", last))
          .at("--replay");
    }
    const Anchor& anchor = anchor_for(anchors_, first);
    require_affordable(anchor, first, last);
    replay_from(under_layout(run_, options_.layout), anchor, last);
  }

  void side_by_side() {
    const auto [from, last] = options_.replay.value_or(std::pair(std::int64_t{0}, run_.ledger.last_step()));
    const Anchor& anchor = anchor_for(anchors_, from);
    require_affordable(anchor, from, last);
    const Experiment first = under_layout(run_, {});
    const Experiment second = under_layout(run_, options_.against);
    std::optional<SideBySideDifference> difference;
    for_each_rank(second, job_.world.size(), &job_.world, [&](Communicator& world) {
      const auto mine =
          compare_side_by_side({.first = first,
                                .second = second,
                                .inputs = *inputs_,
                                .ledger = run_.ledger,
                                .anchor = anchor,
                                .last = last,
                                .first_kernels = {},
                                .second_kernels = options_.against_reference ? reference_kernels() : KernelsMaker{},
                                .machine = share_of(world)},
                               world);
      if (world.rank() == 0) difference = mine;
    });
    const std::string piece =
        fmt::format("steps {} to {}, {} against {}{}", anchor.step + 1, last, describe(first.layout),
                    describe(second.layout), options_.against_reference ? ", reference kernels" : "");
    if (!difference) {
      report_.pass("against", piece + ": every record is the same");
      return;
    }
    std::string text = fmt::format("{}: step {} differs in {}; first operation: {} ({} rows)", piece, difference->step,
                                   fmt::join(difference->members, ", "), difference->operation, difference->rows);
    if (difference->element >= 0) {
      text += fmt::format("\n                 element {} of its first row: {:.9g} (bits of {:a}) and {:.9g} ({:a})",
                          difference->element, difference->first, difference->first, difference->second,
                          difference->second);
    }
    report_.fail("against", text);
  }

  static KernelsMaker reference_kernels() {
    return [](ThreadPool&) { return make_reference_kernels(ScalarKind::kFloat); };
  }

  // From anchor to anchor; the last one ends where the ledger does.
  std::vector<Segment> segments() const {
    std::vector<Segment> all;
    for (std::size_t i = 0; i < anchors_.size(); ++i) {
      const std::int64_t last = i + 1 < anchors_.size() ? anchors_[i + 1].step : run_.ledger.last_step();
      if (last > anchors_[i].step) all.push_back({.from = anchors_[i], .last = last});
    }
    return all;
  }

  // The chosen segments of a challenge, by index.
  std::vector<std::size_t> choose(const std::vector<Segment>& all) {
    std::vector<std::size_t> chosen;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].from.step < kEarlySteps) chosen.push_back(i);
    }
    std::vector<std::size_t> by_move(all.size());
    for (std::size_t i = 0; i < all.size(); ++i) by_move[i] = i;
    std::stable_sort(by_move.begin(), by_move.end(),
                     [&](std::size_t a, std::size_t b) { return all[a].move > all[b].move; });
    by_move.resize(std::min(by_move.size(), kLargestMoves));
    chosen.insert(chosen.end(), by_move.begin(), by_move.end());
    const std::int64_t count = std::min(options_.count, std::ssize(all));
    for (const std::int64_t i : draw_segments(nonce_, run_.ledger.head(), std::ssize(all), count))
      chosen.push_back(static_cast<std::size_t>(i));
    std::sort(chosen.begin(), chosen.end());
    chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
    return chosen;
  }

  void challenge() {
    std::vector<Segment> all = segments();
    if (all.empty())
      throw Error("the run has nothing to challenge").values("at least one step", "none").at("--challenge");
    measure_moves(all);
    const std::vector<std::size_t> chosen = choose(all);
    const auto total = std::ssize(all);
    const auto forged =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(options_.forged * static_cast<double>(total))));
    const std::int64_t count = std::min(options_.count, total);
    report_.note("challenge",
                 fmt::format("{} of {} segments: {} drawn by nonce {}, the early ones, and the {} that moved most",
                             chosen.size(), total, count, nonce_, std::min(kLargestMoves, all.size())));
    const Experiment experiment = under_layout(run_, options_.layout);
    std::size_t good = 0;
    for (const std::size_t i : chosen) good += replay_from(experiment, all[i].from, all[i].last) ? 1U : 0U;
    const std::string odds =
        fmt::format("a forgery of {} of {} segments stays unseen by the draw with probability {:.3g}", forged, total,
                    miss_probability(total, forged, count));
    if (good == chosen.size())
      report_.pass("challenge", fmt::format("{} segments replayed; {}", good, odds));
    else
      report_.fail("challenge",
                   fmt::format("{} of {} segments did not replay; {}", chosen.size() - good, chosen.size(), odds));
  }

  // How far the weights moved in each segment, from the checkpoints alone: slice by slice.
  void measure_moves(std::vector<Segment>& all) const;

  const VerifyOptions& options_;
  const VerifyJob& job_;
  VerifyReport& report_;
  VerifiedRun run_;
  std::string nonce_;
  std::optional<RunInputs> inputs_;
  std::vector<Anchor> anchors_;
};

void Verification::measure_moves(std::vector<Segment>& all) const {
  const ModelParameters declared = declare_parameters(run_.experiment.model, run_.experiment.numerics.tensor_grains);
  std::vector<Checkpoint> checkpoints;
  for (const Anchor& anchor : anchors_) {
    if (!anchor.checkpoint.empty()) checkpoints.push_back(Checkpoint::open(anchor.checkpoint));
  }
  ThreadPool pool(1);
  std::vector<double> squares(all.size(), 0.0);
  double elements = 0;
  for (const ParameterGroup& group : declared.groups) {
    for (const ParameterSpec& spec : group.members) {
      const auto count = static_cast<std::size_t>(spec.logical.slice_elements());
      for (std::int64_t slice = 0; slice < spec.logical.slices; ++slice) {
        std::vector<float> before(count), after(count);
        StateShard shard{.tensor = &spec.logical,
                         .initialisation = spec.initialisation,
                         .slice = slice,
                         .begin = 0,
                         .count = static_cast<std::int64_t>(count),
                         .values = {before.data(), nullptr, nullptr}};
        fill_genesis(std::span(&shard, 1), run_.seed, pool);
        shard.values[0] = after.data();
        for (std::size_t i = 0; i < checkpoints.size() && i < squares.size(); ++i) {
          checkpoints[i].load(std::span(&shard, 1));
          for (std::size_t e = 0; e < count; ++e) {
            const double change = static_cast<double>(after[e]) - static_cast<double>(before[e]);
            squares[i] += change * change;
          }
          before = after;
        }
        elements += static_cast<double>(count);
      }
    }
  }
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i].move = std::sqrt(squares[i] / elements) / static_cast<double>(all[i].last - all[i].from.step);
}

}  // namespace

bool verify(const VerifyOptions& options, const VerifyJob& job, const std::function<void(const std::string&)>& say) {
  const bool leads = job.world.rank() == 0;
  VerifyReport report(leads ? say : VerifyReport::Say{});
  Verification(options, job, report).go();
  // A check that rank 0 made alone decides for all.
  return gather_text(job.world, report.passed() ? "passed" : "failed").front() == "passed";
}

}  // namespace baekji
