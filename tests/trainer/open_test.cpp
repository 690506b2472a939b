// States that the owner makes again for an evaluator, and replays that begin in them.

#include "trainer/open_states.h"

#include <gmock/gmock.h>

#include "checkpoint/checkpoint_store.h"
#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// All roots in the ledger, and the last checkpoint alone kept.
Experiment only_the_last(const std::string& name) {
  const Experiment e = load(fresh_folder(name), {"run.steps=8", "run.checkpoint_every=2", "run.keep=1"});
  train_alone(e);
  return e;
}

std::string open(const OpenOptions& options) {
  std::string text;
  const auto world = make_self_communicator();
  open_states(options, {.world = *world}, [&](const std::string& line) { text += line + "\n"; });
  return text;
}

TEST(Open, DrawnStatesComeBackAndReplay) {
  const Experiment e = only_the_last("opened");
  const VerifyOptions challenge{.run = e.output(), .nonce = "n", .count = 8};
  const Verdict before = verdict_of(challenge);
  EXPECT_FALSE(before.passed || before.failed) << before.text;
  EXPECT_THAT(before.text, HasSubstr(fmt::format("baekji open {} --steps 3,5,7", e.output().string())));
  const std::string ledger = read_text(e.output() / "ledger.jsonl");
  EXPECT_THAT(open({.run = e.output(), .steps = {5, 6, 3, 1, 2}}), HasSubstr("step-00000004"));
  EXPECT_EQ(read_text(e.output() / "ledger.jsonl"), ledger) << "opening is no part of the run's history";
  EXPECT_THAT(CheckpointStore(e.output() / "opened").list(), ElementsAre(2, 4));
  // Elsewhere, from an opened state on, and as four ranks.
  const fs::path other = fresh_folder("opened_elsewhere");
  EXPECT_THAT(open({.run = e.output(), .steps = {7}, .output = other, .layout = {"tensor=2", "data=2", "zero=1"}}),
              HasSubstr("step-00000006"));
  fs::rename(other / "step-00000006", e.output() / "opened" / "step-00000006");
  for (const std::vector<std::string>& layout : {std::vector<std::string>{}, {"pipeline=2"}}) {
    VerifyOptions again = challenge;
    again.layout = layout;
    const Verdict after = verdict_of(again);
    EXPECT_TRUE(after.passed) << after.text;
  }
  EXPECT_THAT(open({.run = e.output(), .steps = {7}}), HasSubstr("there already"));
}

TEST(Open, AForgedRunCannotOpenWhatItNeverComputed) {
  const Experiment e = eight_steps("forged_open");
  write_run(e, {.change = [](std::int64_t step, std::span<const StateShard> state) {
              if (step == 3) mix_in_foreign(state, 1.0F);
            }});
  fs::remove_all(state_of(e.output(), 4));
  EXPECT_THROW(open({.run = e.output(), .steps = {5}}), Error);
  EXPECT_TRUE(CheckpointStore(e.output() / "opened").list().empty());
  EXPECT_FALSE(verdict_of({.run = e.output(), .nonce = "n", .count = 8}).passed);
}

TEST(Open, StepsThatTheLedgerDoesNotHaveAreRefused) {
  for (const std::int64_t step : {0, -1, 9, 1000000})
    EXPECT_THROW(open({.run = honest_run(), .steps = {step}}), Error) << step;
  EXPECT_THROW(open({.run = honest_run(), .steps = {}}), Error);
  const Ledger ledger = Ledger::open_read_only(honest_run() / "ledger.jsonl");
  EXPECT_THAT(states_to_open(ledger, {1, 2, 3, 8}), ElementsAre(2, 6));
}

}  // namespace
}  // namespace baekji::tiny
