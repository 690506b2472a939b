// The experiment of a run folder that a stranger made: what decides bits, and nothing else of it.

#include "trainer/run_experiment.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "core/untrusted_file.h"
#include "tests/trainer/forged_run.h"
#include "trainer/saved_model.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

fs::path strangers_run(const std::string& name, const std::string& tables) {
  const fs::path run = fresh_folder(name);
  fs::create_directories(run);
  std::string text = resolved_toml(load(run));
  const auto drop = [&](const std::string& table) {
    const std::size_t begin = text.find("[" + table + "]");
    const std::size_t end = text.find("\n[", begin);
    text.erase(begin, end == std::string::npos ? end : end + 1 - begin);
  };
  for (const char* table : {"layout", "run", "log"}) drop(table);
  std::ofstream(run / "experiment.toml") << tables << "\n" << text;
  return run;
}

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RunExperiment, ALayoutRunAndLogOfAStrangerAreNotObeyed) {
  const fs::path run =
      strangers_run("stranger",
                    "[layout]\nthreads = 2000000\nschedule_file = '/etc/passwd'\ndata = 4096\ndevice = "
                    "'cuda'\nrendezvous = 'tcp:198.51.100.1:1'\nnonsense = 1\n"
                    "[run]\nsigning_key = '/etc/shadow'\noutput = '/'\nsteps = 'many'\n[log]\nevery = 0\n");
  const Experiment e = load_run_experiment(run, {});
  EXPECT_EQ(resolved_toml(e).find("etc"), std::string::npos) << resolved_toml(e);
  EXPECT_EQ(e.layout.threads, 0);
  EXPECT_EQ(e.layout.mesh().size(), 1);
  EXPECT_EQ(e.layout.device, "cpu");
  EXPECT_TRUE(e.layout.meets_by_mpi());
  EXPECT_EQ(e.run.output, "");
  EXPECT_EQ(e.data.tokenizer, (run / "tokenizer.model").string()) << "the folder's own copy, whose digest is checked";
  EXPECT_EQ(e.model.hidden, 32) << "what decides bits is the run's";
  const std::vector<std::string> mine{"layout.tensor=2", "threads=3"};
  const Experiment wide = load_run_experiment(run, mine);
  EXPECT_EQ(wide.layout.tensor, 2);
  EXPECT_EQ(wide.layout.threads, 3);
  for (const std::string foreign : {"model.hidden=64", "run.steps=3", "layout.nonsense=1"}) {
    EXPECT_NE(refusal([&] { load_run_experiment(run, std::vector<std::string>{foreign}); }), "") << foreign;
  }
}

TEST(RunExperiment, NoOtherFileIsOpenedThroughIt) {
  EXPECT_THAT(refusal([&] { load_run_experiment(strangers_run("extends", "extends = '/etc/passwd'"), {}); }),
              AllOf(HasSubstr("extends no other"), Not(HasSubstr("root:"))));
  const fs::path run = strangers_run("fifo_store", "");
  Experiment e = load_run_experiment(run, {});
  fs::copy_file(data_folder() / "tok.model", run / "tokenizer.model");
  ASSERT_EQ(mkfifo((run / "pipe").c_str(), 0600), 0);
  e.data.sources[0].path = (run / "pipe").string();
  EXPECT_THAT(refusal([&] { (void)open_contract(e); }), HasSubstr("a FIFO"));
  e.data.sources[0].path = "/dev/zero";
  EXPECT_THAT(refusal([&] { (void)open_contract(e); }), HasSubstr("a device"));
}

TEST(RunExperiment, StoresOfTheCaller) {
  Experiment e = load_run_experiment(strangers_run("stores", ""), {});
  use_stores(e, std::vector<std::string>{"b=/mine/b=1.h5"});
  EXPECT_EQ(e.data.sources[0].path, (data_folder() / "a.h5").string());
  EXPECT_EQ(e.data.sources[1].path, "/mine/b=1.h5");
  const std::vector<std::vector<std::string>> wrong{{"c=/x"}, {"b"}, {"=x"}, {"b="}, {"b=x", "b=y"}};
  for (const auto& stores : wrong) EXPECT_NE(refusal([&] { use_stores(e, stores); }), "") << stores[0];
}

TEST(RunExperiment, FiguresThatNothingHasAreRefusedBeforeTheyAreUsed) {
  const fs::path run = strangers_run("figures", "");
  const std::string good = read_text(run / "experiment.toml");
  const std::vector<std::pair<std::string, std::string>> changes{
      {"layers = 2", "layers = 9223372036854775807"},     {"hidden = 32", "hidden = 4611686018427387904"},
      {"context = 32", "context = 4611686018427387904"},  {"global_batch = 8", "global_batch = 1152921504606846976"},
      {"replicas = 2", "replicas = 4611686018427387904"}, {"vocab = 333", "vocab = 9223372036854775807"},
      {"ffn = 48", "ffn = 9223372036854775807"},          {"micro_batch = 2", "micro_batch = 9223372036854775807"}};
  for (const auto& [from, to] : changes) {
    std::string text = good;
    const std::size_t at = text.find(from + "\n");
    ASSERT_NE(at, std::string::npos) << from;
    std::ofstream(run / "experiment.toml") << text.replace(at, from.size(), to);
    EXPECT_THAT(refusal([&] { load_run_experiment(run, {}); }), HasSubstr("larger than anything")) << to;
  }
}

TEST(RunExperiment, ARunFolderFullOfTrapsIsRefusedInWords) {
  const auto copy = [] {
    const fs::path run = fresh_folder("traps");
    fs::copy(honest_run(), run, fs::copy_options::recursive);
    return run;
  };
  const std::string brackets(20000, '[');
  for (const char* name : {"ledger.jsonl", "contract.json", "experiment.toml", "tokenizer.model"}) {
    const fs::path fifo = copy() / name;
    fs::remove(fifo);
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    const Verdict waited = verdict_of({.run = fifo.parent_path(), .genesis = true, .data = true});
    EXPECT_FALSE(waited.passed);
    EXPECT_THAT(waited.text, HasSubstr("a FIFO")) << name;
    const fs::path deep = copy() / name;
    std::ofstream(deep) << brackets << "\n";
    EXPECT_FALSE(verdict_of({.run = deep.parent_path(), .genesis = true, .data = true}).passed) << name;
  }
  const fs::path run = copy();
  std::ofstream(run / "ledger.jsonl", std::ios::app) << brackets << std::string(20000, ']') << "\n";
  EXPECT_THAT(verdict_of({.run = run}).text, HasSubstr("error: "));
  const fs::path manifest = copy() / "checkpoints" / "step-00000004" / "manifest.json";
  std::ofstream(manifest) << brackets << std::string(20000, ']') << "\n";
  EXPECT_THAT(verdict_of({.run = fresh_folder("unused").parent_path() / "traps", .replay = std::pair(4, 6)}).text,
              HasSubstr("nests too deeply"));
}

TEST(RunExperiment, ATokenizerThatIsNotTheContractsIsNotUsed) {
  const fs::path run = fresh_folder("swapped_tokenizer");
  fs::copy(honest_run(), run, fs::copy_options::recursive);
  EXPECT_NO_THROW(load_run_tokenizer(RunFolder{run}));
  train_tokenizer(
      {.input = {.files = {data_folder() / "a.jsonl"}}, .output = run / "tokenizer.model", .vocabulary = 320});
  EXPECT_THAT(refusal([&] { load_run_tokenizer(RunFolder{run}); }), HasSubstr("not the one of the contract"));
}

TEST(RunExperiment, TrainingWritesThroughNoLink) {
  for (const char* name : {"ledger.jsonl", "metrics.jsonl", "loss.svg", "experiment.toml", "contract.json", "lock"}) {
    const fs::path run = fresh_folder("links");
    const fs::path victim = data_folder() / "victim";
    fs::create_directories(run);
    fs::remove(victim);
    fs::create_symlink(victim, run / name);  // to nothing, so that a writer would make it
    try {
      train_alone(load(run));
    } catch (const Error&) {
      // refused, or the link was replaced by a file
    }
    EXPECT_FALSE(fs::exists(victim)) << name;
  }
  const fs::path real = fresh_folder("real");
  const fs::path linked = data_folder() / "linked";
  fs::create_directories(real);
  fs::remove(linked);
  fs::create_directory_symlink(real, linked);
  train_alone(load(linked));
  EXPECT_TRUE(verdict_of({.run = linked, .replay = std::pair(0, 6)}).passed) << "a run folder may be a link";
}

}  // namespace
}  // namespace baekji::tiny
