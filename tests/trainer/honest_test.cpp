// Honest runs, whatever happened to them, end in "verified", with every state replayed.

#include <gmock/gmock.h>

#include <csignal>
#include <thread>

#include "parallel/communicator_threads.h"
#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Everything that can be asked without keys.
Verdict all_of(const fs::path& run, const std::vector<std::string>& layout = {}) {
  return verdict_of({.run = run,
                     .genesis = true,
                     .data = true,
                     .samples = 100,
                     .layout = layout,
                     .nonce = "honest",
                     .count = 1000,
                     .from_earlier = true,
                     .require = {"ledger", "contract", "tokenizer", "genesis", "data", "challenge", "kernel-set"}});
}

TEST(Honest, APlainRun) {
  for (const std::vector<std::string>& layout :
       {std::vector<std::string>{}, {"pipeline=2", "threads=2"}, {"data=2", "tensor=2", "zero=2"}}) {
    const Verdict verdict = all_of(honest_run(), layout);
    EXPECT_TRUE(verdict.passed) << verdict.text;
  }
}

TEST(Honest, ARunThatWasKilledAgainAndAgain) {
  const fs::path run = fresh_folder("honest_killed");
  const std::vector<std::string> keys{"run.steps=60", "run.checkpoint_every=10", "run.keep=100", "run.root_every=3"};
  std::vector<std::string> command{"train", experiment_file().string(), "--set", "run.output='" + run.string() + "'"};
  for (const std::string& key : keys) command.insert(command.end(), {"--set", key});
  int kills = 0;
  for (int attempt = 0; attempt < 6; ++attempt) {
    const pid_t child = start_program(command, data_folder() / "honest.log");
    std::this_thread::sleep_for(std::chrono::milliseconds(300 + 150 * attempt));
    kill(child, SIGKILL);
    const int status = wait_for(child);
    if (status == 0) break;
    ASSERT_EQ(status, -SIGKILL) << read_text(data_folder() / "honest.log");
    ++kills;
  }
  train_alone(load(run, keys));
  const Verdict verdict = all_of(run);
  EXPECT_TRUE(verdict.passed) << verdict.text;
  std::printf("%d kills, verified\n", kills);
}

TEST(Honest, ARunThatChangedItsLayout) {
  const Experiment e = eight_steps("honest_layouts");
  train_alone(load(e.output(), {"run.steps=3", "run.keep=100"}));
  const Experiment wide = load(e.output(), {"run.steps=5", "run.keep=100", "layout.data=2", "layout.tensor=2"});
  run_as_ranks(4, [&](Communicator& world) { train(wide, {}, world); });
  const Experiment deep = load(e.output(), {"run.steps=8", "run.keep=100", "layout.pipeline=2"});
  run_as_ranks(2, [&](Communicator& world) { train(deep, {}, world); });
  const Verdict verdict = all_of(e.output(), {"tensor=2"});
  EXPECT_TRUE(verdict.passed) << verdict.text;
}

// Back to a step whose state was never hashed: training goes on from an older one, and comes by.
TEST(Honest, ARunWithRollbacks) {
  const Experiment e = eight_steps("honest_rollbacks");
  train_alone(e);
  train_alone(e, {.rollback = RollbackEvent{.to = 5, .skip = {.from = 6, .to = 7}}});
  train_alone(e, {.rollback = RollbackEvent{.to = 4, .skip = {.from = 5, .to = 5}}});
  const Ledger ledger = Ledger::open_read_only(e.output() / "ledger.jsonl");
  EXPECT_EQ(ledger.last_step(), 8);
  const Verdict verdict = all_of(e.output());
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(verdict.text,
              AllOf(HasSubstr("note  rollbacks  2 rollbacks, 3 batches left out, 7 steps trained and thrown away"),
                    HasSubstr("batches 5 to 7 were left out")));
}

// A root for every step: segments of one step each.
TEST(Honest, ARunWithARootForEveryStep) {
  const Experiment e = eight_steps("honest_roots", {"run.root_every=1", "run.checkpoint_every=1"});
  train_alone(e);
  VerifyOptions one{.run = e.output(), .nonce = "n", .count = 1, .steps = {4}};
  const Verdict verdict = verdict_of(one);
  EXPECT_TRUE(verdict.passed) << verdict.text;
  EXPECT_THAT(verdict.text, HasSubstr("1 records and 1 state roots again"));
  EXPECT_TRUE(all_of(e.output()).passed);
}

}  // namespace
}  // namespace baekji::tiny
