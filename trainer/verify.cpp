#include "trainer/verify.h"

#include <cmath>

#include "parallel/gather_text.h"
#include "trainer/layout.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"
#include "trainer/run_experiment.h"
#include "trainer/verify_against.h"
#include "trainer/verify_challenge.h"
#include "trainer/verify_pieces.h"
#include "trainer/verify_rollbacks.h"
#include "trainer/verify_run.h"
#include "trainer/verify_states.h"

namespace baekji {
namespace {

// None where the owner's opening of the log is not good: then nobody vouched for any.
AdmissibleKernelSets vouched_for(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report) {
  try {
    return admissible_kernel_sets(run, options);
  } catch (const Error& error) {
    report.left("kernels", fmt::format("which are admissible is not known: {}", error.what()));
    return {};
  }
}

class Verification {
 public:
  Verification(const VerifyOptions& options, const VerifyJob& job, VerifyReport& report)
      : options_(options), job_(job), report_(report), run_(open_verified(options.run, report)) {
    use_stores(run_.experiment, options.stores);
    nonce_ = options.nonce;
    if (nonce_.empty() && leads()) nonce_ = fresh_nonce();
  }

  void go() {
    if (options_.replay && options_.replay->second > run_.ledger.last_step()) {
      throw Error("the ledger does not reach that step")
          .values(fmt::format("at most {}", run_.ledger.last_step()), fmt::format("{}", options_.replay->second))
          .at("--replay");
    }
    if (leads()) check_alone();
    RunKernels kernels(run_.ledger, vouched_for(run_, options_.signatures, report_));
    if (trains()) kernels.replay_under(mine());
    if (leads()) kernels.report(report_);
    if (trains()) train_again(kernels);
  }

 private:
  bool leads() const { return job_.world.rank() == 0; }
  bool compares() const { return !options_.against.empty() || options_.against_reference; }
  bool trains() const { return options_.replay || compares() || !options_.nonce.empty(); }

  void find_anchors(const std::function<void(const std::string&)>& problem) {
    anchors_.emplace(anchors_of(run_.folder, run_.ledger, problem));
  }

  void check_alone() {
    ThreadPool pool(thread_count(run_.experiment.layout, job_.machine.ranks));
    verify_signatures(run_, options_.signatures, report_);
    find_anchors([&](const std::string& text) { report_.fail("manifests", text); });
    const std::size_t states = anchors_->size() - 1;
    if (states > 0) {
      report_.pass("manifests", fmt::format("{} states in checkpoints/ and opened/ name the ledger's steps and roots; "
                                            "sizes only: --challenge reads every byte",
                                            states));
    }
    if (options_.genesis) verify_genesis(run_, pool, report_);
    if (!options_.data) return;
    inputs_.emplace(open_verified_inputs(run_));
    verify_data(run_, *inputs_, nonce_, options_.samples, report_);
  }

  KernelSet mine() const {
    ThreadPool pool(1);
    return kernel_set_of(*make_kernels(under_layout(run_, options_.layout).layout, pool, job_.machine));
  }

  void train_again(const RunKernels& kernels) {
    if (!inputs_) inputs_.emplace(open_verified_inputs(run_));
    if (!anchors_) find_anchors([](const std::string&) {});
    const Anchors& anchors = *anchors_;
    if (compares()) {
      verify_against({.options = options_, .job = job_, .run = run_, .inputs = *inputs_, .anchors = anchors}, report_);
      return;
    }
    PieceVerifier pieces(
        {.options = options_, .job = job_, .run = run_, .inputs = *inputs_, .anchors = anchors, .kernels = kernels});
    const ChallengeArgs args{.options = options_, .run = run_, .nonce = nonce_};
    if (options_.replay) verify_replay(args, pieces, report_);
    if (options_.nonce.empty()) return;
    if (leads()) {
      ThreadPool pool(thread_count(run_.experiment.layout, job_.machine.ranks));
      verify_states(run_, anchors, pool, report_);
    }
    verify_challenge(args, pieces, report_);
  }

  const VerifyOptions& options_;
  const VerifyJob& job_;
  VerifyReport& report_;
  VerifiedRun run_;
  std::string nonce_;
  std::optional<RunInputs> inputs_;
  std::optional<Anchors> anchors_;
};

}  // namespace

void check_request(const VerifyOptions& options) {
  const auto refuse = [](const char* option, const char* wanted, const std::string& came) {
    throw Error("this asks for nothing that could be checked").values(wanted, came).at(option);
  };
  if (options.samples < 1) refuse("--samples", ">= 1", fmt::format("{}", options.samples));
  if (!options.nonce.empty() && options.count < 1) refuse("--count", ">= 1", fmt::format("{}", options.count));
  if (options.replay && options.replay->first >= options.replay->second) {
    refuse("--replay", "FIRST:LAST with FIRST < LAST",
           fmt::format("{}:{}", options.replay->first, options.replay->second));
  }
  if (options.max_hours && !(*options.max_hours > 0 && std::isfinite(*options.max_hours)))
    refuse("--max-hours", "> 0", fmt::format("{}", *options.max_hours));
  if (!(options.forged > 0 && options.forged <= 1)) refuse("--forged", "> 0, <= 1", fmt::format("{}", options.forged));
  for (const std::int64_t step : options.steps) {
    if (step < 1) refuse("--step", ">= 1", fmt::format("{}", step));
  }
  if (!options.steps.empty() && options.nonce.empty()) refuse("--step", "--challenge beside it", "none");
  const bool compares = !options.against.empty() || options.against_reference;
  if (compares && (!options.nonce.empty() || options.max_hours))
    refuse("--against", "alone, or with --replay", "--challenge or --max-hours beside it");
  VerifyReport({}).require(options.require);
}

VerifyVerdict verify(const VerifyOptions& options, const VerifyJob& job,
                     const std::function<void(const std::string&)>& say) {
  check_request(options);
  const bool leads = job.world.rank() == 0;
  VerifyReport report(leads ? say : VerifyReport::Say{});
  report.require(options.require);
  Verification(options, job, report).go();
  report.hold_to_requirements();
  // A check that rank 0 made alone decides for all.
  const std::string outcome = gather_text(job.world, fmt::format("{}", static_cast<int>(report.outcome()))).front();
  return {.outcome = static_cast<VerifyOutcome>(std::stoi(outcome)), .last_line = report.last_line()};
}

}  // namespace baekji
