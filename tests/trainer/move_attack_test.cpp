// What an owner could say of how far her weights moved: too little, so that a jump does not show; or too much
// elsewhere, so that a challenge looks there.

#include <gmock/gmock.h>

#include <limits>

#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Foreign weights come in at step 8 of 12; the records tell the moves that `tell` makes of them.
Verdict challenged(const std::string& name, const std::function<void(StepRecord&)>& tell, float share = 1.0F) {
  const Experiment e = load(fresh_folder(name), {"run.steps=12", "run.checkpoint_every=3", "run.keep=100"});
  write_run(e, {.change =
                    [&](std::int64_t step, std::span<const StateShard> state) {
                      if (step == 8) mix_in_foreign(state, share);
                    },
                .record = tell});
  return verdict_of({.run = e.output(), .nonce = "any", .count = 1});
}

TEST(MoveAttack, AJumpThatNoRecordTells) {
  const Verdict verdict = challenged("untold", [](StepRecord&) {});
  EXPECT_TRUE(verdict.failed);
  EXPECT_THAT(verdict.text,
              AllOf(HasSubstr("FAIL  moves      steps 7 to 9: the weights moved by"), HasSubstr("ok    states")));
}

TEST(MoveAttack, AJumpThatIsToldIsReplayed) {
  const Verdict verdict = challenged("told", [](StepRecord& record) {
    if (record.step == 8) record.move = 100;
  });
  EXPECT_TRUE(verdict.failed);
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("ok    moves"), HasSubstr("step 8 moved the weights most"),
                                  HasSubstr("FAIL  segment    steps 7 to 9")));
}

TEST(MoveAttack, LargerOnesToldElsewhereAreReplayedInItsPlace) {
  const Verdict verdict = challenged("decoys", [](StepRecord& record) {
    if (record.step == 8) record.move = 100;
    if (record.step == 2 || record.step == 5 || record.step == 11) record.move = 1000;
  });
  EXPECT_TRUE(verdict.failed);
  EXPECT_THAT(verdict.text, HasSubstr("step 2 differs in move"));
}

TEST(MoveAttack, NoMoveOrAnEndlessOneIsNoWayOut) {
  for (const double told : {0.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    const Verdict verdict = challenged("extreme", [&](StepRecord& record) {
      if (record.step >= 7 && record.step <= 9) record.move = told;
    });
    EXPECT_TRUE(verdict.failed) << told << "\n" << verdict.text;
  }
}

// The least lie there is: one bit of one record, of a step that a challenge replays in any case.
TEST(MoveAttack, OneBitOfTheLastMove) {
  const Verdict verdict = challenged(
      "one_bit",
      [](StepRecord& record) {
        if (record.step == 12) record.move = std::nextafter(record.move, 1.0);
      },
      0);
  EXPECT_TRUE(verdict.failed);
  EXPECT_THAT(verdict.text, HasSubstr("step 12 differs in move"));
}

}  // namespace
}  // namespace baekji::tiny
