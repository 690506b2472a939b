// Whole runs on real files: the state root is the oracle.

#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <thread>

#include "checkpoint/checkpoint_store.h"
#include "proof/ledger.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/folder_lock.h"

namespace baekji::tiny {
namespace {

const std::string& reference_root() {
  static const std::string root = train_root(fresh_folder("reference"));
  return root;
}

TEST(Run, LossFallsAndTheSummaryIsComputed) {
  const fs::path run = fresh_folder("falls");
  train_alone(load(run, {"run.steps=40", "run.checkpoint_every=0"}), {});
  std::ifstream metrics(run / "metrics.jsonl");
  std::vector<double> losses;
  for (std::string line; std::getline(metrics, line);) {
    const auto record = nlohmann::json::parse(line);
    for (const char* key :
         {"step", "tokens", "loss", "grad_norm", "learning_rate", "step_s", "tokens_per_s", "mfu", "memory_bytes"}) {
      ASSERT_TRUE(record.contains(key)) << key;
    }
    losses.push_back(record["loss"]);
  }
  ASSERT_EQ(losses.size(), 40U);
  EXPECT_LT(losses.back(), losses.front() - 1.0);
  const auto result = summary(run);
  ASSERT_EQ(result["validation"].size(), 2U);
  for (const auto& source : result["validation"]) {
    EXPECT_LT(source["loss"].get<double>(), source["unigram_entropy"].get<double>()) << source.dump();
  }
  EXPECT_TRUE(fs::exists(run / "loss.svg"));
  std::printf("loss %.3f -> %.3f, %s\n", losses.front(), losses.back(), result["validation"].dump().c_str());
}

TEST(Run, ThreadsResumeAndRecomputationChangeNoBit) {
  std::printf("root %s\n", reference_root().c_str());
  for (const char* change : {"layout.threads=2", "layout.threads=3", "layout.threads=8", "layout.recompute=full"}) {
    EXPECT_EQ(train_root(fresh_folder("variant"), {change}), reference_root()) << change;
  }
  const fs::path run = fresh_folder("resumed");
  train_alone(load(run, {"run.steps=3"}), {});
  EXPECT_EQ(train_root(run), reference_root()) << "3 steps, then on to 6";
  EXPECT_EQ(train_root(run), reference_root()) << "a complete run, started again, changes nothing";
}

TEST(Run, EveryGrainCountAndPrecisionTrains) {
  std::vector<std::string> roots;
  for (const char* precision : {"fp32", "bf16"}) {
    for (const char* grains : {"1", "2", "4"}) {
      const std::vector<std::string> overrides{std::string("numerics.precision=") + precision,
                                               std::string("numerics.tensor_grains=") + grains, "run.steps=3"};
      roots.push_back(train_root(fresh_folder("grains"), overrides));
      auto with_threads = overrides;
      with_threads.push_back("layout.threads=3");
      EXPECT_EQ(train_root(fresh_folder("grains"), with_threads), roots.back()) << precision << " " << grains;
    }
  }
  std::sort(roots.begin(), roots.end());
  EXPECT_EQ(std::unique(roots.begin(), roots.end()), roots.end()) << "grains and precision are part of the arithmetic";
}

TEST(Run, StagesChangeContextBatchAndWeights) {
  const fs::path toml = data_folder() / "stages.toml";
  std::ofstream(toml)
      << "extends = 'tiny.toml'\n[[stage]]\nfrom_step = 3\ncontext = 16\nglobal_batch = 4\nweights = [0.5, 0.5]\n"
         "[[stage]]\nfrom_step = 5\ncontext = 32\nrope_theta = 50000.0\nglobal_batch = 16\n";
  experiment_file();
  const auto root = [&](const std::string& name, std::vector<std::string> overrides) {
    const fs::path run = fresh_folder(name);
    overrides.push_back("run.output='" + run.string() + "'");
    train_alone(load_experiment(toml, overrides), {});
    EXPECT_EQ(summary(run)["tokens"], 2 * 8 * 32 + 2 * 4 * 16 + 2 * 16 * 32);
    return summary(run)["state_root"].get<std::string>();
  };
  EXPECT_EQ(root("stages1", {}), root("stages3", {"layout.threads=3"}));
}

TEST(Run, ADamagedCheckpointIsNamedAndTheOlderOneUsed) {
  const fs::path run = fresh_folder("damaged");
  train_alone(load(run, {"run.steps=4"}), {});
  const CheckpointStore store(run / "checkpoints");
  ASSERT_EQ(store.list(), (std::vector<std::int64_t>{2, 4}));
  {
    std::fstream shard(store.path_of(4) / "shard-00000.h5", std::ios::in | std::ios::out | std::ios::binary);
    shard.seekp(5000);
    shard.put('\x5a');
  }
  testing::internal::CaptureStdout();
  const std::string root = train_root(run);
  const std::string said = testing::internal::GetCapturedStdout();
  EXPECT_EQ(root, reference_root());
  EXPECT_NE(said.find("step-00000004"), std::string::npos) << said;
}

TEST(Run, ATornLedgerIsMendedAndAForgedOneRefused) {
  const fs::path run = fresh_folder("torn");
  train_alone(load(run, {"run.steps=4"}), {});
  const fs::path ledger = run / "ledger.jsonl";
  const std::string whole = read_text(ledger);
  std::ofstream(ledger, std::ios::app) << "{\"body\":{\"step\":5,\"lo";
  EXPECT_EQ(train_root(run), reference_root());
  std::string forged = read_text(ledger);
  const std::size_t digit = forged.find("\"loss\":\"") + 12;
  forged[digit] = forged[digit] == '0' ? '1' : '0';
  std::ofstream(ledger, std::ios::trunc) << forged;
  EXPECT_THROW(train_alone(load(run, {"run.steps=8"}), {}), Error);
}

TEST(Run, AnotherExperimentInTheFolderIsRefused) {
  const fs::path run = fresh_folder("other");
  train_alone(load(run, {"run.steps=1"}), {});
  const std::string before = read_text(run / "ledger.jsonl");
  try {
    train_alone(load(run, {"run.steps=2", "optimizer.lr=1e-3"}), {});
    FAIL() << "another learning rate is another experiment";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("another experiment"), std::string::npos) << error.what();
  }
  EXPECT_EQ(read_text(run / "ledger.jsonl"), before);
}

TEST(Run, ASecondTrainerInTheFolderIsRefused) {
  const fs::path run = fresh_folder("locked");
  const FolderLock held(run);
  try {
    train_alone(load(run), {});
    FAIL() << "the folder is taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("another process"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(fs::exists(run / "ledger.jsonl"));
}

TEST(Run, VoidStepsTouchNothingAndStopTheRun) {
  const fs::path run = fresh_folder("void");
  try {
    train_alone(load(run, {"model.logits_multiplier=1e38", "run.max_void_steps=3", "run.checkpoint_every=1"}), {});
    FAIL() << "every step is void";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("3 void steps in a row"), std::string::npos) << error.what();
  }
  const Ledger ledger = Ledger::open_read_only(run / "ledger.jsonl");
  EXPECT_EQ(ledger.last_step(), 3);
  const StepRecord record = parse_step_body(ledger.find_step(2).value(), "step 2");
  EXPECT_FALSE(record.void_tensor.empty());
  EXPECT_EQ(record.updates, 0);
  EXPECT_EQ(record.position, 16) << "the data position advances";
  const Checkpoint saved = Checkpoint::open(CheckpointStore(run / "checkpoints").path_of(2));
  EXPECT_EQ(to_hex(saved.info().state_root), to_hex(ledger.genesis().state_root)) << "no weight and no moment changed";
  std::printf("void tensor %s\n", record.void_tensor.c_str());
}

class Program : public testing::Test {
 protected:
  std::vector<std::string> command(const fs::path& run, const std::vector<std::string>& overrides = {}) {
    std::vector<std::string> arguments{"train", experiment_file().string(), "--set",
                                       "run.output='" + run.string() + "'"};
    for (const std::string& text : overrides) {
      arguments.push_back("--set");
      arguments.push_back(text);
    }
    return arguments;
  }
  fs::path log_ = data_folder() / "program.log";
};

TEST_F(Program, KillAtAnyMomentLosesNothing) {
  const fs::path run = fresh_folder("killed");
  const std::vector<std::string> overrides{"run.checkpoint_every=1"};
  int kills = 0;
  for (int attempt = 0; attempt < 40; ++attempt) {
    const pid_t child = start_program(command(run, overrides), log_);
    // Later each time, so that every phase from start-up to the last save is hit.
    std::this_thread::sleep_for(std::chrono::milliseconds(60 + 45 * attempt));
    kill(child, SIGKILL);
    const int status = wait_for(child);
    if (status == 0) break;
    ASSERT_EQ(status, -SIGKILL) << read_text(log_);
    ++kills;
  }
  EXPECT_EQ(train_root(run, overrides), reference_root());
  std::printf("%d kills, then the same root\n", kills);
  EXPECT_GE(kills, 3);
}

TEST_F(Program, SigtermSavesAndStopsCleanly) {
  const fs::path run = fresh_folder("terminated");
  const pid_t child = start_program(command(run, {"run.steps=100000", "run.checkpoint_every=0"}), log_);
  for (int i = 0; i < 200 && read_text(run / "metrics.jsonl").size() < 400; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  kill(child, SIGTERM);
  EXPECT_EQ(wait_for(child), 0) << read_text(log_);
  const CheckpointStore store(run / "checkpoints");
  ASSERT_EQ(store.list().size(), 1U);
  EXPECT_EQ(store.list().front(), Ledger::open_read_only(run / "ledger.jsonl").last_step());
  EXPECT_NE(read_text(log_).find("stopped at step"), std::string::npos);
}

TEST_F(Program, AFullDiskKeepsTheLastGoodCheckpoint) {
  const fs::path run = fresh_folder("full");
  train_alone(load(run, {"run.steps=2"}), {});
  // A limit on the size of a file stands for the full disk: the shard cannot be written whole.
  const std::string shell = "ulimit -f 40; trap '' XFSZ; exec '" + std::string(BAEKJI_BINARY) + "' train '" +
                            experiment_file().string() + "' --set \"run.output='" + run.string() + "'\" > '" +
                            log_.string() + "' 2>&1";
  const pid_t child = fork();
  if (child == 0) {
    execl("/bin/bash", "bash", "-c", shell.c_str(), nullptr);
    _exit(127);
  }
  EXPECT_NE(wait_for(child), 0);
  EXPECT_NE(read_text(log_).find("error"), std::string::npos) << read_text(log_);
  EXPECT_EQ(CheckpointStore(run / "checkpoints").list().back(), 2);
  EXPECT_EQ(train_root(run), reference_root()) << "with room again, the run goes on";
}

TEST_F(Program, GeneratesAndInspects) {
  reference_root();
  const fs::path run = data_folder() / "reference";
  const auto output = [&](const std::vector<std::string>& arguments) {
    EXPECT_EQ(wait_for(start_program(arguments, log_)), 0) << read_text(log_);
    return read_text(log_);
  };
  const auto info = nlohmann::json::parse(output({"inspect", "--json", run.string()}));
  EXPECT_EQ(info.at("step"), 6);
  EXPECT_EQ(info.at("state_root"), reference_root());
  EXPECT_EQ(info.at("contract").get<std::string>().size(), 64U);
  EXPECT_GT(info.at("parameters"), 10000);
  EXPECT_EQ(nlohmann::json::parse(output({"inspect", "--json", (data_folder() / "a.h5").string()})).at("kind"),
            "token store");
  EXPECT_EQ(nlohmann::json::parse(output({"inspect", "--json", (run / "checkpoints/step-00000006").string()}))
                .at("state_root"),
            reference_root());
  const std::vector<std::string> generate{"generate", run.string(), "--prompt", "the cat ",
                                          "--tokens", "20",         "--seed",   "3"};
  const std::string text = output(generate);
  EXPECT_EQ(text.rfind("the cat ", 0), 0U) << text;
  EXPECT_EQ(output(generate), text) << "the same seed gives the same text";
  EXPECT_NE(wait_for(start_program({"generate", (data_folder() / "nowhere").string()}, log_)), 0);
  EXPECT_NE(read_text(log_).find("not a run folder"), std::string::npos);
}

}  // namespace
}  // namespace baekji::tiny
