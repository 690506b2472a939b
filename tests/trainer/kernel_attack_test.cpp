// Another machine as an excuse: what is not the same on this one, and what an owner says of hers.

#include <gmock/gmock.h>

#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;

KernelSet exotic() {
  KernelSet kernels = this_kernel_set();
  kernels.processor = "Setun 70, the owner's own";
  return kernels;
}

Forgery under(const KernelSet& kernels, std::int64_t swapped = 0) {
  return {.change =
              [=](std::int64_t step, std::span<const StateShard> state) {
                if (step != 0 && step == swapped) mix_in_foreign(state, 1.0F);
              },
          // A move that the record tells: else the states alone give it away, on any machine.
          .record =
              [=](StepRecord& record) {
                if (record.step == swapped) record.move = 100;
              },
          .kernel_set = kernels};
}

VerifyOptions challenge(const Experiment& e) {
  return {.run = e.output(), .nonce = "any", .count = 8};
}

// Four steps as they should be, then a session that says it ran elsewhere.
Experiment resumed(const std::string& name, const KernelSet& kernels, std::int64_t swapped) {
  const Experiment e = eight_steps(name);
  write_run(load(e.output(), {"run.steps=4", "run.keep=100"}), under(this_kernel_set()));
  write_run(e, under(kernels, swapped));
  return e;
}

TEST(KernelAttack, TheSameKernelSetAndADifferenceIsAForgery) {
  const Verdict verdict = verdict_of(challenge(resumed("same_kernels", this_kernel_set(), 6)));
  EXPECT_TRUE(verdict.failed);
  EXPECT_THAT(verdict.text, HasSubstr("step 6 differs in"));
}

TEST(KernelAttack, AnotherKernelSetInAResumeIsNoExcuse) {
  const Verdict verdict = verdict_of(challenge(resumed("resumed_elsewhere", exotic(), 6)));
  EXPECT_FALSE(verdict.passed);
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("left  segment    not proved on this machine"),
                                  HasSubstr("partly verified"), HasSubstr("Setun 70"), HasSubstr("NOT admissible")));
  VerifyOptions strict = challenge(resumed("resumed_elsewhere", exotic(), 6));
  strict.require = {"kernel-set"};
  EXPECT_TRUE(verdict_of(strict).failed);
}

// Nobody vouched for that machine before the run: equal bits here do not make it one of the run's.
TEST(KernelAttack, AnInadmissibleSessionStaysUnprovedWhenItsBitsAreEqual) {
  const Verdict verdict = verdict_of(challenge(resumed("inadmissible", exotic(), 0)));
  EXPECT_FALSE(verdict.passed);
  EXPECT_FALSE(verdict.failed) << verdict.text;
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("and still not proved"), HasSubstr("ok    segment")));
  // Also where the part that was asked for lies before it: the run as a whole has steps that nobody can prove.
  const Verdict before = verdict_of({.run = data_folder() / "inadmissible", .replay = std::pair(0, 4)});
  EXPECT_THAT(before.text, AllOf(HasSubstr("ok    replay"), HasSubstr("left  kernels"), HasSubstr("partly verified")));
  const Verdict unasked = verdict_of({.run = data_folder() / "inadmissible"});
  EXPECT_FALSE(unasked.passed);
  EXPECT_THAT(unasked.text, HasSubstr("left  kernels"));
}

TEST(KernelAttack, AWholeRunElsewhereIsComparedAndNotExcused) {
  const Experiment honest = eight_steps("elsewhere");
  write_run(honest, under(exotic()));
  const Verdict equal = verdict_of(challenge(honest));
  EXPECT_TRUE(equal.passed) << equal.text;
  EXPECT_THAT(equal.text, HasSubstr("note  kernels"));
  const Experiment forged = eight_steps("forged_elsewhere");
  write_run(forged, under(exotic(), 3));
  const Verdict verdict = verdict_of(challenge(forged));
  EXPECT_FALSE(verdict.passed);
  EXPECT_THAT(verdict.text, HasSubstr("partly verified"));
  // The states give away a jump that no record tells.
  const Experiment untold = eight_steps("untold_elsewhere");
  Forgery quiet = under(exotic(), 3);
  quiet.record = [](StepRecord&) {};
  write_run(untold, quiet);
  EXPECT_TRUE(verdict_of(challenge(untold)).failed);
}

// What the contract alone decides is the same on every machine.
TEST(KernelAttack, AForeignStartOrOtherBatchesAreForgeriesOnAnyMachine) {
  const Experiment start = eight_steps("start_elsewhere");
  write_run(start, {.change =
                        [](std::int64_t step, std::span<const StateShard> state) {
                          if (step == 0) mix_in_foreign(state, 1.0F);
                        },
                    .kernel_set = exotic()});
  EXPECT_TRUE(verdict_of(challenge(start)).failed);
  const Experiment batches = eight_steps("batches_elsewhere");
  write_run(batches, {.batch = [](std::int64_t step) { return step == 5 ? 50 : step; },
                      .record =
                          [&](StepRecord& record) {
                            if (record.step == 5) record.batch_root = sha256("another batch");
                          },
                      .kernel_set = exotic()});
  const Verdict verdict = verdict_of(challenge(batches));
  EXPECT_TRUE(verdict.failed);
  EXPECT_THAT(verdict.text, HasSubstr("batch_root"));
}

}  // namespace
}  // namespace baekji::tiny
