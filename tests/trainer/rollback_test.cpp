// A rollback that the ledger would not take is refused before anything is written; what a run resumes from is what its
// ledger holds.

#include <gmock/gmock.h>

#include <map>

#include "tests/key_files.h"
#include "tests/trainer/forged_run.h"

namespace baekji::tiny {
namespace {

using testing::HasSubstr;
using Keys = std::vector<std::string>;

RollbackEvent back(std::int64_t to, std::int64_t from, std::int64_t last) {
  return {.to = to, .skip = {.from = from, .to = last}};
}

/// Every file below a folder, with its bytes.
std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    files[entry.path().lexically_relative(folder).string()] = entry.is_regular_file() ? read_text(entry.path()) : "";
  return files;
}

std::string refusal(const Experiment& e, const TrainOptions& options = {}) {
  try {
    train_alone(e, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

Experiment six_steps(const fs::path& run, Keys keys = {}) {
  keys.push_back("experiment.max_skipped_batches=2");
  keys.push_back("run.keep=100");
  return load(run, keys);
}

TEST(Rollback, ARefusedOneLeavesTheFolderAsItWas) {
  const fs::path run = fresh_folder("rollback_refused");
  train_alone(six_steps(run));
  // A torn line would be cut off, a key would begin a log, and a leftover would be removed.
  std::ofstream(run / "ledger.jsonl", std::ios::app) << R"({"body":{"step":7,"lo)";
  fs::create_directories(run / "checkpoints" / "step-00000009.partial");
  const fs::path key = write_private_key(data_folder() / "rollback.pem", std::string(32, 'k'));
  const Experiment signing = six_steps(run, {"run.signing_key='" + key.string() + "'"});
  const auto before = files_of(run);
  const std::vector<std::pair<RollbackEvent, std::string>> bad{
      {back(2, 3, 5), "more batches than the contract allows"},
      {back(2, 2, 2), "trained on behind its step"},
      {back(2, 6, 7), "trained on behind its step"},
      {back(7, 8, 8), "goes back to a step of the ledger"},
      {back(6, 6, 6), "trained on behind its step"},
  };
  for (const auto& [rollback, reason] : bad) {
    EXPECT_THAT(refusal(signing, {.rollback = rollback}), HasSubstr(reason));
    EXPECT_EQ(before, files_of(run)) << reason;
  }
  train_alone(six_steps(run), {.rollback = back(2, 3, 4)});
  EXPECT_THAT(refusal(six_steps(run), {.rollback = back(2, 3, 4)}), HasSubstr("left out already"));
  EXPECT_THAT(refusal(six_steps(run), {.rollback = back(4, 7, 7)}), HasSubstr("at most 2"));
  const Verdict verdict = verdict_of({.run = run, .data = true, .replay = std::pair(0, 6)});
  EXPECT_TRUE(verdict.passed) << verdict.text;
}

TEST(Rollback, AnotherExperimentIsToldAsOneAndLeavesTheFolderAsItWas) {
  const fs::path run = fresh_folder("rollback_other");
  train_alone(six_steps(run));
  std::ofstream(run / "ledger.jsonl", std::ios::app) << R"({"body":{"step":7,"lo)";
  const auto before = files_of(run);
  for (const Keys& keys : {Keys{"optimizer.lr=1e-3"}, Keys{"numerics.global_batch=16"}, Keys{"experiment.seed=6"},
                           Keys{"model.layers=3"}}) {
    EXPECT_THAT(refusal(six_steps(run, keys)), HasSubstr("the run folder holds another experiment")) << keys.front();
    EXPECT_EQ(before, files_of(run)) << keys.front();
  }
}

// A crash may leave the rollback in the ledger and the checkpoints behind it under their names.
TEST(Rollback, ACheckpointBehindItIsNotTheStateOfItsStep) {
  const fs::path run = fresh_folder("rollback_crash");
  // Every step is void: all states are step 0's, and no root tells the steps apart.
  const Keys keys{"model.logits_multiplier=1e38", "run.max_void_steps=100"};
  const Experiment e = six_steps(run, keys);
  train_alone(e);
  train_alone(e, {.rollback = back(4, 5, 6)});
  const fs::path checkpoints = run / "checkpoints";
  fs::remove_all(checkpoints / "step-00000006");
  std::string ledger = read_text(run / "ledger.jsonl");
  const std::size_t event = ledger.find("\"event\":\"rollback\"");
  ASSERT_NE(event, std::string::npos);
  std::ofstream(run / "ledger.jsonl", std::ios::trunc) << ledger.substr(0, ledger.find('\n', event) + 1);
  fs::rename(checkpoints / "step-00000006.rolled-back", checkpoints / "step-00000006");
  EXPECT_TRUE(verdict_of({.run = run}).failed) << "a state of a step that the ledger no longer has";
  train_alone(six_steps(run, {keys[0], keys[1], "run.steps=5"}));
  EXPECT_TRUE(fs::exists(checkpoints / "step-00000006.rolled-back"));
  EXPECT_TRUE(verdict_of({.run = run}).passed);
  train_alone(e);
  const Verdict verdict = verdict_of({.run = run, .data = true, .replay = std::pair(0, 6)});
  EXPECT_TRUE(verdict.passed) << verdict.text;
}

// What was signed is compared before a torn line is cut off.
TEST(Rollback, ALedgerThatIsNotThePublishedOneStaysAsItIs) {
  const fs::path run = fresh_folder("rollback_published");
  const fs::path key = write_private_key(data_folder() / "published.pem", std::string(32, 'p'));
  train_alone(six_steps(run, {"run.signing_key='" + key.string() + "'"}));
  const std::string ledger = read_text(run / "ledger.jsonl");
  const std::size_t last = ledger.rfind('\n', ledger.size() - 2);
  std::ofstream(run / "ledger.jsonl", std::ios::trunc) << ledger.substr(0, last + 1) << R"({"body":{"step":7,"lo)";
  const auto before = files_of(run);
  for (const Keys& keys : {Keys{}, Keys{"run.signing_key='" + key.string() + "'"}}) {
    EXPECT_THAT(refusal(six_steps(run, keys)), HasSubstr("published"));
    EXPECT_EQ(before, files_of(run));
  }
}

}  // namespace
}  // namespace baekji::tiny
