// What a verification says at its end: nothing checked is not verified, and what was left is said.

#include <gmock/gmock.h>

#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

bool is_partly(const Verdict& verdict) {
  return !verdict.passed && !verdict.failed;
}

TEST(Outcome, RequestsThatAskForNothingAreRefused) {
  const fs::path& run = honest_run();
  const std::vector<VerifyOptions> nonsense{{.run = run, .nonce = "n", .count = 0},
                                            {.run = run, .nonce = "n", .count = -1},
                                            {.run = run, .data = true, .samples = 0},
                                            {.run = run, .data = true, .samples = -3},
                                            {.run = run, .replay = std::pair(8, 8)},
                                            {.run = run, .replay = std::pair(6, 4)},
                                            {.run = run, .nonce = "n", .count = 1, .max_hours = 0.0},
                                            {.run = run, .nonce = "n", .count = 1, .max_hours = -1.0},
                                            {.run = run, .nonce = "n", .count = 1, .max_hours = std::nan("")},
                                            {.run = run, .nonce = "n", .count = 1, .forged = 0},
                                            {.run = run, .nonce = "n", .count = 1, .forged = 2},
                                            {.run = run, .nonce = "n", .count = 1, .steps = {0}},
                                            {.run = run, .steps = {4}},
                                            {.run = run, .against = {"tensor=2"}, .nonce = "n", .count = 1},
                                            {.run = run, .require = {"everything"}}};
  for (const VerifyOptions& options : nonsense) {
    EXPECT_THROW(check_request(options), Error);
    EXPECT_THAT(verdict_of(options).text, HasSubstr("error: "));
  }
  EXPECT_NO_THROW(check_request({.run = run, .nonce = "n", .count = 1, .max_hours = 1e-15}));
}

int status_of(const std::vector<std::string>& arguments) {
  std::vector<std::string> all{"verify", honest_run().string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return wait_for(start_program(all, data_folder() / "status.log"));
}
std::string last_line() {
  std::string text = read_text(data_folder() / "status.log");
  text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

TEST(Outcome, TheProgramSaysItWithItsStatus) {
  EXPECT_EQ(status_of({}), 0);
  EXPECT_THAT(last_line(), AllOf(HasSubstr("verified: ledger, contract, tokenizer"), HasSubstr("not asked: genesis")));
  EXPECT_EQ(status_of({"--genesis", "--require", "genesis,contract"}), 0);
  EXPECT_EQ(status_of({"--require", "genesis,contract"}), 1);
  EXPECT_THAT(last_line(), HasSubstr("NOT verified: require: genesis is required"));
  EXPECT_EQ(status_of({"--challenge", "n", "--count", "1", "--max-hours", "1e-15"}), 2);
  EXPECT_THAT(last_line(), AllOf(HasSubstr("partly verified: "), HasSubstr("; not verified: challenge")));
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--challenge", "n", "--count", "0"},
                                             {"--challenge", "", "--count", "1"},
                                             {"--data", "--samples", "0"},
                                             {"--data", "--samples", "-1"},
                                             {"--replay", "8:8"},
                                             {"--replay", "8:6"},
                                             {"--replay", "x"},
                                             {"--challenge", "n", "--count", "1", "--max-hours", "0"},
                                             {"--challenge", "n"},
                                             {"--count", "3"},
                                             {"--step", "4"},
                                             {"--require", "nothing-of-this-name"}})
    EXPECT_GT(status_of(arguments), 2) << arguments.front() << " " << arguments.back();
  EXPECT_EQ(status_of({"--replay", "2:900"}), 1);
}

TEST(Outcome, TimeThatEndsLeavesTheRest) {
  const Verdict verdict = verdict_of({.run = honest_run(), .nonce = "n", .count = 8, .max_hours = 1e-15});
  EXPECT_TRUE(is_partly(verdict)) << verdict.text;
  EXPECT_THAT(verdict.text, AllOf(HasSubstr("left  segment"), Not(HasSubstr("ok    segment"))));
  const Verdict replay = verdict_of({.run = honest_run(), .replay = std::pair(0, 8), .max_hours = 1e-15});
  EXPECT_TRUE(is_partly(replay)) << replay.text;
  EXPECT_TRUE(verdict_of({.run = honest_run(), .nonce = "n", .count = 8, .max_hours = 1.0}).passed);
}

// Its own word for how long a step takes is the owner's: it neither stops a replay nor lets one run on.
TEST(Outcome, TheOwnersClockDecidesNothing) {
  const fs::path run = copy_of(honest_run(), "clock");
  std::ofstream(run / "metrics.jsonl") << "{\"step\":1,\"step_s\":1e12}\n{\"step\":2,\"step_s\":\"soon\"}\n[1]\n";
  EXPECT_TRUE(verdict_of({.run = run, .replay = std::pair(0, 4), .max_hours = 1.0}).passed);
  fs::remove_all(state_of(run, 4));
  EXPECT_THAT(verdict_of({.run = run, .replay = std::pair(4, 6)}).text,
              AllOf(HasSubstr("left  replay"), HasSubstr("an estimated")));
}

TEST(Outcome, WhatIsRequiredAndOnlyNotedOrNotAskedFails) {
  const auto required = [](const fs::path& run, const std::vector<std::string>& names) {
    return verdict_of({.run = run, .require = names});
  };
  EXPECT_TRUE(required(honest_run(), {"ledger", "contract", "tokenizer", "kernel-set", "no-rollback"}).passed);
  for (const char* name : {"genesis", "data", "log", "witnessed", "seed-proved", "attested", "challenge"}) {
    const Verdict verdict = required(honest_run(), {name});
    EXPECT_TRUE(verdict.failed) << name;
    EXPECT_THAT(verdict.text, HasSubstr(std::string("FAIL  require    ") + name));
  }
}

TEST(Outcome, AnotherTokenizerInTheRunIsSeenWithoutBeingAskedFor) {
  const fs::path run = copy_of(honest_run(), "tokenizer");
  flip_bit(run / "tokenizer.model", 100);
  EXPECT_TRUE(verdict_of({.run = run}).failed);
  fs::remove(run / "tokenizer.model");
  EXPECT_TRUE(is_partly(verdict_of({.run = run})));
}

// Going back to the beginning again and again, until the order of the data suits.
TEST(Outcome, GrindingTheDataOrderIsCountedAndPriced) {
  const Experiment e = eight_steps("ground");
  train_alone(e);
  for (std::int64_t i = 1; i <= 3; ++i)
    train_alone(e, {.rollback = RollbackEvent{.to = 0, .skip = {.from = i, .to = i}}});
  const Verdict verdict = verdict_of({.run = e.output(), .genesis = true, .nonce = "n", .count = 8});
  EXPECT_TRUE(verdict.passed) << "honest in itself: " << verdict.text;
  // Each from step 8: the sum over the states 0 to 7 of n (n + 1) / 2 is 120, and 3 log2(120) = 20.7.
  EXPECT_THAT(verdict.text, HasSubstr("note  rollbacks  3 rollbacks, 3 batches left out, 24 steps trained and thrown "
                                      "away; the owner's freedom: at most 20.7 bits"));
  VerifyOptions strict{.run = e.output(), .require = {"no-rollback"}};
  EXPECT_TRUE(verdict_of(strict).failed);
}

}  // namespace
}  // namespace baekji::tiny
