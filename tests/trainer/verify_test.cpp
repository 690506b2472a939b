#include "trainer/verify.h"

#include <gmock/gmock.h>

#include "parallel/communicator_threads.h"
#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Keys = std::vector<std::string>;

TEST(Verify, AnHonestRunPassesEveryCheckUnderEveryLayout) {
  const Verdict alone = verdict_of({.run = honest_run(), .genesis = true, .data = true, .samples = 100});
  EXPECT_TRUE(alone.passed) << alone.text;
  EXPECT_THAT(alone.text, AllOf(HasSubstr("ok    genesis"), HasSubstr("8 of 8 steps"), HasSubstr("opens to source"),
                                HasSubstr("not proved")));
  const std::vector<Keys> layouts{
      {}, {"tensor=2"}, {"data=2", "zero=1"}, {"pipeline=2", "schedule='zb-h1'"}, {"recompute='full'", "threads=2"}};
  for (const Keys& layout : layouts) {
    const Verdict replayed = verdict_of({.run = honest_run(), .replay = std::pair(3, 7), .layout = layout});
    EXPECT_TRUE(replayed.passed) << replayed.text;
    EXPECT_THAT(replayed.text, AllOf(HasSubstr("steps 3 to 8 instead"), HasSubstr("6 records and 3 state roots")));
  }
  std::printf("checked ledger, contract, step 0, 8 batches, 2 stores; replayed steps 3 to 8 under %zu layouts\n",
              layouts.size());
}

TEST(Verify, ARestartAndAnotherLayoutInTheMiddlePass) {
  const Experiment e = eight_steps("restarted");
  train_alone(load(e.output(), {"run.steps=3", "run.keep=100"}));
  const Experiment wide = load(e.output(), {"run.steps=8", "run.keep=100", "layout.data=2", "layout.tensor=2"});
  run_as_ranks(4, [&](Communicator& world) { train(wide, {}, world); });
  EXPECT_EQ(summary(e.output()).at("state_root"), summary(honest_run()).at("state_root"));
  const Verdict verdict = verdict_of({.run = e.output(), .replay = std::pair(0, 8)});
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(read_text(e.output() / "ledger.jsonl"), AllOf(HasSubstr("1x2x2"), HasSubstr("\"event\":\"resume\"")));
}

TEST(Verify, ARollbackReplays) {
  const Experiment e = eight_steps("rolled_back");
  train_alone(e);
  train_alone(e, {.rollback = RollbackEvent{.to = 3, .skip = {.from = 4, .to = 6}}});
  EXPECT_NE(summary(e.output()).at("state_root"), summary(honest_run()).at("state_root"));
  EXPECT_TRUE(fs::exists(e.output() / "checkpoints" / "step-00000008"));
  EXPECT_TRUE(fs::exists(e.output() / "checkpoints" / "step-00000006.rolled-back"));
  const Ledger ledger = Ledger::open_read_only(e.output() / "ledger.jsonl");
  const RunInputs inputs = open_inputs(e);
  for (std::int64_t step = 1; step <= 8; ++step) {
    const StepRecord record = parse_step_body(ledger.find_step(step).value(), "");
    const std::int64_t batch = step <= 3 ? step : step + 3;
    EXPECT_EQ(record.batch_root, inputs.loader.batch_root(batch)) << step;
    EXPECT_EQ(record.position, inputs.loader.order().data_position(batch)) << step;
  }
  const Verdict verdict =
      verdict_of({.run = e.output(), .data = true, .replay = std::pair(0, 8), .layout = {"pipeline=2"}});
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(verdict.text, HasSubstr("batches 4 to 6 were left out"));
  // Twice the same is a mistake: the command was repeated to go on.
  EXPECT_THROW(train_alone(e, {.rollback = RollbackEvent{.to = 3, .skip = {.from = 4, .to = 6}}}), Error);
  train_alone(load(e.output(), {"run.steps=10", "run.keep=100"}));
  EXPECT_TRUE(verdict_of({.run = e.output(), .replay = std::pair(0, 10)}).passed);
}

TEST(Verify, ASeedFromABeaconBindsTheContract) {
  const Keys beacon{"experiment.seed=0", "experiment.beacon='drand-quicknet'", "experiment.beacon_round=1000000"};
  Keys with_value = beacon;
  with_value.push_back("run.beacon_value='" + std::string(64, 'b') + "'");
  EXPECT_THROW(train_alone(eight_steps("beacon", beacon)), Error);
  // Another length would be another seed to choose.
  for (const std::size_t digits : {2, 62, 66, 128}) {
    Keys other = beacon;
    other.push_back("run.beacon_value='" + std::string(digits, 'b') + "'");
    EXPECT_THROW(eight_steps("beacon", other), Error) << digits;
  }
  const Experiment e = eight_steps("beacon", with_value);
  train_alone(e);
  const Verdict verdict = verdict_of({.run = e.output(), .genesis = true, .replay = std::pair(6, 8)});
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("round 1000000"), HasSubstr("value " + std::string(64, 'b'))));
}

}  // namespace
}  // namespace baekji::tiny
