// A run with run.signing_key and run.contract_note: what it publishes, and what it refuses.

#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <thread>

#include "parallel/communicator_threads.h"
#include "proof/contract_note.h"
#include "proof/ledger.h"
#include "proof/log.h"
#include "tests/key_files.h"
#include "tests/trainer/tiny_run.h"

namespace baekji::tiny {
namespace {

class RunKeys : public testing::Test {
 protected:
  void SetUp() override {
    keys_ = fresh_folder(std::string("keys_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(keys_);
    run_ = fresh_folder(std::string("run_") + testing::UnitTest::GetInstance()->current_test_info()->name());
  }

  std::string signing(const std::string& name = "owner") {
    (void)test_key(keys_, name);
    return "run.signing_key='" + (keys_ / (name + ".pem")).string() + "'";
  }
  LogTrust trust(const std::string& name = "owner") {
    return {.owner = test_key(keys_, name).public_key(), .revocations = {}};
  }
  LogReport verified() { return verify_log(run_ / "log", run_ / "ledger.jsonl", trust()); }
  std::string refusal(const std::vector<std::string>& overrides) {
    try {
      train_alone(load(run_, overrides));
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }

  fs::path keys_, run_;
};

TEST_F(RunKeys, TheLogGrowsWithTheRunAndEndsWithIt) {
  const std::string root = train_root(run_, {"run.steps=3", signing()});
  LogReport report = verified();
  EXPECT_EQ(report.checkpoint.head.size, report.ledger_records) << "the end of the run is published";
  EXPECT_EQ(report.ledger_records, 2 + 3 + 2) << "genesis, start, steps, checkpoints 2 and 3";
  const fs::path kept = keys_ / "kept";
  fs::copy_file(run_ / "log/checkpoint", kept);
  const std::string whole = train_root(run_, {signing()});
  report = verified();
  EXPECT_EQ(report.checkpoint.head.size, report.ledger_records);
  EXPECT_EQ(report.ledger_records, 7 + 1 + 3 + 2);
  EXPECT_EQ(verify_checkpoint(kept, run_ / "log", run_ / "ledger.jsonl", trust()).checkpoint.head.size, 7);
  // A complete run that is started again has one event more.
  EXPECT_EQ(train_root(run_, {signing()}), whole);
  EXPECT_EQ(verified().checkpoint.head.size, 14);
  const fs::path plain = fresh_folder("keys_plain");
  EXPECT_EQ(train_root(plain), whole) << "a key changes no bit";
  EXPECT_FALSE(fs::exists(plain / "log"));
  EXPECT_FALSE(fs::exists(plain / "contract.note"));
  std::printf("logs of 7, 13 and 14 lines verified; root after 6 steps %s, with and without a key\n", whole.c_str());
}

TEST_F(RunKeys, RankZeroAlonePublishes) {
  const std::vector<std::string> overrides{"layout.data=2", signing()};
  const Experiment e = load(run_, overrides);
  run_as_ranks(2, [&](Communicator& world) { train(e, {}, world); });
  const LogReport report = verified();
  EXPECT_EQ(report.checkpoint.head.size, report.ledger_records);
  std::printf("2 ranks, %lld lines\n", static_cast<long long>(report.ledger_records));
}

TEST_F(RunKeys, AKeyThatCannotBeUsedStopsTheRunBeforeItBegins) {
  const std::string said = refusal({"run.signing_key='" + (keys_ / "none.pem").string() + "'"});
  EXPECT_NE(said.find("there is no key file"), std::string::npos) << said;
  EXPECT_FALSE(fs::exists(run_));
  train_alone(load(run_, {"run.steps=2", signing()}));
  const std::string before = read_text(run_ / "ledger.jsonl");
  const std::string another = refusal({signing("another")});
  EXPECT_NE(another.find("the log goes on under another key"), std::string::npos) << another;
  EXPECT_EQ(read_text(run_ / "ledger.jsonl"), before);
}

TEST_F(RunKeys, ALedgerRewrittenBehindItsLogIsRefused) {
  train_alone(load(run_, {"run.steps=4", signing()}));
  const fs::path path = run_ / "ledger.jsonl";
  const std::string whole = read_text(path);
  // The chain stays good: a shorter ledger, with the checkpoint that it does not know taken away.
  const std::string shorter = whole.substr(0, whole.rfind('\n', whole.size() - 2) + 1);
  write_file(path, shorter);
  for (const std::vector<std::string>& overrides : {std::vector<std::string>{signing()}, std::vector<std::string>{}}) {
    const std::string said = refusal(overrides);
    EXPECT_NE(said.find("the ledger was rewritten behind a published size"), std::string::npos) << said;
    EXPECT_EQ(read_text(path), shorter);
  }
  fs::remove(path);
  fs::remove_all(run_ / "checkpoints");
  const std::string said = refusal({signing()});
  EXPECT_NE(said.find("a published log but no ledger"), std::string::npos) << said;
  write_file(path, whole);
  fs::create_directories(run_ / "checkpoints");
  testing::internal::CaptureStdout();
  EXPECT_EQ(refusal({}), "") << "without a key the run goes on, unpublished";
  const std::string output = testing::internal::GetCapturedStdout();
  EXPECT_NE(output.find("run.signing_key is empty"), std::string::npos) << output;
  const LogReport report = verified();
  EXPECT_LT(report.checkpoint.head.size, report.ledger_records);
  EXPECT_EQ(refusal({signing()}), "");
  EXPECT_EQ(verified().checkpoint.head.size, verified().ledger_records) << "a key takes up where the log stands";
}

TEST_F(RunKeys, TheContractNoteGoesIntoTheFolderWhenItIsOfThisContract) {
  const fs::path other = fresh_folder("keys_contract");
  train_alone(load(other, {"run.steps=1"}));
  const Digest contract = Ledger::open_read_only(other / "ledger.jsonl").genesis().contract;
  const auto note_of = [&](const Digest& named) {
    SignedNote note{.text = contract_note_text({.contract = named, .name = "tests/tiny", .seed = "seed"}),
                    .signatures = {}};
    sign_note(note, kContractNoteName, test_key(keys_, "owner"));
    return write_note(note);
  };
  const fs::path file = keys_ / "contract.note";
  const std::string override_text = "run.contract_note='" + file.string() + "'";
  EXPECT_NE(refusal({override_text}).find("there is no contract note"), std::string::npos);
  write_file(file, "nonsense");
  EXPECT_NE(refusal({override_text}).find("not a signed note"), std::string::npos);
  write_file(file, note_of(sha256("another")));
  const std::string said = refusal({override_text});
  EXPECT_NE(said.find("the contract note is of another contract"), std::string::npos) << said;
  EXPECT_NE(said.find(to_hex(contract)), std::string::npos) << said;
  EXPECT_FALSE(fs::exists(run_));
  write_file(file, note_of(contract));
  EXPECT_EQ(refusal({override_text, "run.steps=2"}), "");
  EXPECT_EQ(read_text(run_ / "contract.note"), note_of(contract));
  EXPECT_FALSE(fs::exists(run_ / "log")) << "a note needs no log";
  // A witness's signature that came later is taken over when the run goes on.
  SignedNote witnessed = parse_note(note_of(contract), "test");
  cosign_note(witnessed, "witness.example/1", test_key(keys_, "witness"), 1700000000);
  write_file(file, write_note(witnessed));
  EXPECT_EQ(refusal({override_text, "run.steps=3"}), "");
  EXPECT_EQ(read_text(run_ / "contract.note"), write_note(witnessed));
}

TEST_F(RunKeys, KilledAtAnyMomentTheLogAndTheLedgerAgree) {
  const std::vector<std::string> overrides{"run.checkpoint_every=1", signing()};
  const std::vector<std::string> command{"train", experiment_file().string(),
                                         "--set", "run.output='" + run_.string() + "'",
                                         "--set", overrides[0],
                                         "--set", overrides[1]};
  int kills = 0;
  int logs = 0;
  for (int attempt = 0; attempt < 40; ++attempt) {
    const pid_t child = start_program(command, keys_ / "program.log");
    std::this_thread::sleep_for(std::chrono::milliseconds(60 + 45 * attempt));
    kill(child, SIGKILL);
    const int status = wait_for(child);
    if (fs::exists(run_ / "log/checkpoint")) {
      (void)verified();
      logs += 1;
    }
    if (status == 0) break;
    ASSERT_EQ(status, -SIGKILL) << read_text(keys_ / "program.log");
    ++kills;
  }
  train_alone(load(run_, overrides));
  const LogReport report = verified();
  EXPECT_EQ(report.checkpoint.head.size, report.ledger_records);
  EXPECT_EQ(report.leftover_files, 0);
  EXPECT_GE(kills, 3);
  std::printf("%d kills, %d logs verified after them, %lld lines at the end\n", kills, logs,
              static_cast<long long>(report.ledger_records));
}

}  // namespace
}  // namespace baekji::tiny
