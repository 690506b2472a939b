#include "proof/ledger.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "proof/contract.h"
#include "tests/python.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The machine's file system, with an append that fails after some bytes.
class FaultyFileSystem final : public FileSystem {
 public:
  std::int64_t append_budget_bytes = std::int64_t{1} << 40;
  int appends = 0;

  std::unique_ptr<AppendFile> open_append(const fs::path& path) override {
    return std::make_unique<Faulty>(*this, real().open_append(path));
  }
  std::string read(const fs::path& path) override { return real().read(path); }
  void write(const fs::path& path, std::string_view bytes) override { real().write(path, bytes); }
  void truncate(const fs::path& path, std::int64_t size) override { real().truncate(path, size); }
  void rename(const fs::path& from, const fs::path& to) override { real().rename(from, to); }
  void sync(const fs::path& path) override { real().sync(path); }
  void create_directories(const fs::path& path) override { real().create_directories(path); }
  void remove_all(const fs::path& path) override { real().remove_all(path); }
  bool exists(const fs::path& path) override { return real().exists(path); }
  std::vector<std::string> list(const fs::path& path) override { return real().list(path); }

 private:
  static FileSystem& real() { return posix_file_system(); }
  class Faulty final : public AppendFile {
   public:
    Faulty(FaultyFileSystem& owner, std::unique_ptr<AppendFile> file) : owner_(owner), file_(std::move(file)) {}
    void append(std::string_view bytes) override {
      ++owner_.appends;
      const auto size = static_cast<std::int64_t>(bytes.size());
      if (size > owner_.append_budget_bytes) {
        file_->append(bytes.substr(0, static_cast<std::size_t>(owner_.append_budget_bytes)));
        throw Error("cannot write a file").values("success", "No space left on device");
      }
      owner_.append_budget_bytes -= size;
      file_->append(bytes);
    }
    void sync() override { file_->sync(); }

   private:
    FaultyFileSystem& owner_;
    std::unique_ptr<AppendFile> file_;
  };
};

GenesisRecord sample_genesis() {
  return {.contract = sha256("contract"),
          .state_root = sha256("state 0"),
          .kernel_set = cpu_kernel_set({{"onednn", "2.6.3"}})};
}

StepRecord sample_step(std::int64_t step) {
  StepRecord record{.step = step,
                    .batch_root = sha256(fmt::format("batch {}", step)),
                    .loss = 8.0 / static_cast<double>(step),
                    .gradient_norm = 1.5,
                    .learning_rate = 3e-4,
                    .move = 0.25,
                    .position = step * 16,
                    .tokens = step * 4096,
                    .updates = step - step / 7};  // every seventh is void
  if (step % 4 == 0) record.state_root = sha256(fmt::format("state {}", step));
  if (step % 7 == 0) {
    record.void_tensor = "layers.0.attention.q";
    record.gradient_norm = record.move = 0;
  }
  return record;
}

Ledger started(const fs::path& path, FileSystem& files = posix_file_system()) {
  Ledger ledger = Ledger::create(path, sample_genesis(), files);
  ledger.append_event("start", start_details("1x1x1"));
  return ledger;
}

class LedgerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              fmt::format("ledger_{}", testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = folder_ / "ledger.jsonl";
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write_sample(std::int64_t steps) {
    Ledger ledger = started(path_);
    for (std::int64_t step = 1; step <= steps; ++step) ledger.append(sample_step(step));
    ledger.sync();
  }
  std::string bytes() { return posix_file_system().read(path_); }
  void replace(const std::string& text) { std::ofstream(path_, std::ios::binary | std::ios::trunc) << text; }

  fs::path folder_;
  fs::path path_;
};

TEST_F(LedgerTest, WritesReadsAndGoesOn) {
  {
    Ledger ledger = started(path_);
    for (std::int64_t step = 1; step <= 9; ++step) ledger.append(sample_step(step));
    ledger.append_event("checkpoint", {{"step", 9}, {"state_root", to_hex(sha256("state 9"))}});
    EXPECT_THROW(Ledger::create(path_, sample_genesis()), Error);
  }
  Ledger ledger = Ledger::open(path_);
  EXPECT_EQ(12, ledger.record_count());
  EXPECT_EQ(9, ledger.last_step());
  EXPECT_EQ(0, ledger.torn_bytes());
  EXPECT_EQ(sample_genesis().contract, ledger.genesis().contract);
  EXPECT_EQ(sample_genesis().kernel_set, ledger.genesis().kernel_set);
  for (std::int64_t step = 1; step <= 9; ++step) {
    ASSERT_TRUE(ledger.find_step(step));
    EXPECT_EQ(step_body(sample_step(step)), *ledger.find_step(step));
    EXPECT_EQ(step_body(sample_step(step)), step_body(parse_step_body(*ledger.find_step(step), "test")));
  }
  EXPECT_FALSE(ledger.find_step(10));
  EXPECT_FALSE(ledger.find_step(0));
  EXPECT_EQ(0, ledger.step_of_state_root(sha256("state 0")));
  EXPECT_EQ(8, ledger.step_of_state_root(sha256("state 8")));
  EXPECT_EQ(9, ledger.step_of_state_root(sha256("state 9")));
  EXPECT_FALSE(ledger.state_root_known(sha256("state 5")));
  ledger.append(sample_step(10));
  EXPECT_EQ(ledger.head(), Ledger::open_read_only(path_).head());
  std::int64_t seen = 0;
  ledger.for_each([&](std::int64_t index, const std::string& kind, const json&) {
    EXPECT_EQ(seen++, index);
    EXPECT_EQ(index == 0 ? "genesis" : (index == 1 || index == 11 ? "event" : "step"), kind);
  });
  EXPECT_EQ(13, seen);
}

TEST_F(LedgerTest, RefusesWrongRecordsAndKeepsGoing) {
  Ledger ledger = started(path_);
  ledger.append(sample_step(1));
  EXPECT_THROW(ledger.append(sample_step(1)), Error);
  EXPECT_THROW(ledger.append(sample_step(3)), Error);
  EXPECT_THROW(ledger.append("genesis", genesis_body(sample_genesis())), Error);
  EXPECT_THROW(ledger.append("event", 5), Error);
  EXPECT_THROW(ledger.append_event("slow", {{"seconds", 1.5}}), Error);
  EXPECT_THROW(ledger.append_event("checkpoint", {{"step", 1}}), Error);
  json extra = step_body(sample_step(2));
  extra["host"] = "x";
  EXPECT_THROW(ledger.append("step", extra), Error);
  ledger.append(sample_step(2));
  EXPECT_EQ(4, Ledger::open_read_only(path_).record_count());
  EXPECT_THROW(Ledger::open_read_only(path_).append(sample_step(3)), Error);
}

TEST_F(LedgerTest, TornTailAtEveryByteIsCutOff) {
  write_sample(3);
  const std::string whole = bytes();
  const std::size_t last_line = whole.rfind('\n', whole.size() - 2) + 1;
  for (std::size_t size = last_line; size <= whole.size(); ++size) {
    replace(whole.substr(0, size));
    const bool is_whole = size == whole.size();
    if (!is_whole) {
      EXPECT_EQ(static_cast<std::int64_t>(size - last_line), Ledger::open_read_only(path_).torn_bytes());
    }
    EXPECT_EQ(size, bytes().size());  // reading changes nothing
    Ledger ledger = Ledger::open(path_);
    ASSERT_EQ(is_whole ? 3 : 2, ledger.last_step()) << size;
    ASSERT_EQ(is_whole ? 0 : static_cast<std::int64_t>(size - last_line), ledger.torn_bytes());
    if (!is_whole) ledger.append(sample_step(3));
    ASSERT_EQ(whole, bytes()) << size;
  }
  replace(whole + std::string(300, '\0') + "\n");
  EXPECT_EQ(301, Ledger::open(path_).torn_bytes());
  EXPECT_EQ(whole, bytes());
  std::printf("torn at each of %zu places: cut, redone, the same bytes\n", whole.size() - last_line);
}

TEST_F(LedgerTest, AnyChangedByteIsFound) {
  write_sample(5);
  const std::string whole = bytes();
  const Digest head = Ledger::open_read_only(path_).head();
  const std::size_t last_line = whole.rfind('\n', whole.size() - 2) + 1;
  int errors = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    replace(changed);
    try {
      const Ledger ledger = Ledger::open_read_only(path_);
      // Only the end can change and still chain: then the head differs, or the last line counts as torn.
      EXPECT_GE(i + 1, last_line) << i;
      EXPECT_NE(head, ledger.head()) << i;
    } catch (const Error& error) {
      EXPECT_NE(std::string::npos, error.where().find("line ")) << error.what();
      ++errors;
    }
  }
  EXPECT_GE(errors + 1, static_cast<int>(last_line));
  std::printf("%zu bytes flipped one by one: %d errors that name the line, the rest show in the head\n", whole.size(),
              errors);
}

TEST_F(LedgerTest, RemovedSwappedAndRepeatedLines) {
  write_sample(5);
  std::vector<std::string> lines;
  const std::string whole = bytes();
  for (std::size_t begin = 0; begin < whole.size(); begin = whole.find('\n', begin) + 1)
    lines.push_back(whole.substr(begin, whole.find('\n', begin) + 1 - begin));
  const auto expect_error = [&](const std::vector<std::string>& changed, const std::string& line) {
    std::string text;
    for (const std::string& l : changed) text += l;
    replace(text);
    try {
      Ledger::open(path_);
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string::npos, error.where().find(line)) << error.what();
    }
    EXPECT_EQ(text, bytes());  // an error changes nothing
  };
  auto changed = lines;
  changed.erase(changed.begin() + 2);
  expect_error(changed, "line 3");
  changed = lines;
  std::swap(changed[2], changed[3]);
  expect_error(changed, "line 3");
  changed = lines;
  changed.insert(changed.begin() + 4, changed[3]);
  expect_error(changed, "line 5");
  changed = {lines.begin() + 1, lines.end()};
  expect_error(changed, "line 1");
  replace("");
  EXPECT_THROW(Ledger::open(path_), Error);
  replace(lines[0].substr(0, 20));
  EXPECT_THROW(Ledger::open(path_), Error);
  EXPECT_THROW(Ledger::open(folder_ / "none.jsonl"), Error);
}

TEST_F(LedgerTest, FullDiskThenResume) {
  FaultyFileSystem files;
  Ledger ledger = started(path_, files);
  ledger.append(sample_step(1));
  files.append_budget_bytes = 100;
  EXPECT_THROW(ledger.append(sample_step(2)), Error);
  EXPECT_EQ(1, ledger.last_step());
  files.append_budget_bytes = 1 << 20;
  EXPECT_THROW(ledger.append(sample_step(2)), Error);  // the file ends in a torn line: open it again first
  Ledger again = Ledger::open(path_, files);
  EXPECT_EQ(100, again.torn_bytes());
  const int before = files.appends;
  again.append(sample_step(2));
  EXPECT_EQ(before + 1, files.appends);  // one write a record
  EXPECT_EQ(2, Ledger::open_read_only(path_).last_step());
}

TEST_F(LedgerTest, RollbackUndoesStepsAndSkipsBatches) {
  const auto roll_back = [](Ledger& ledger, std::int64_t to, BatchRange skip) {
    ledger.append_event("rollback", rollback_details({.to = to, .skip = skip}));
  };
  {
    Ledger ledger = started(path_);
    for (std::int64_t step = 1; step <= 9; ++step) ledger.append(sample_step(step));
    EXPECT_THROW(roll_back(ledger, 10, {12, 13}), Error) << "not reached";
    EXPECT_THROW(roll_back(ledger, 5, {5, 7}), Error) << "batch 5 was trained on in step 5";
    EXPECT_THROW(roll_back(ledger, 5, {8, 7}), Error);
    EXPECT_THROW(roll_back(ledger, 5, {8, 10}), Error) << "batch 10 was never trained on";
    roll_back(ledger, 5, {6, 8});
    EXPECT_EQ(ledger.last_step(), 5);
    EXPECT_FALSE(ledger.find_step(6).has_value());
    EXPECT_THROW(ledger.append(sample_step(6)), Error) << "a session comes first";
    ledger.append_event("resume", resume_details({.step = 4, .kernel_set = sample_genesis().kernel_set}));
    EXPECT_THROW(ledger.append(sample_step(10)), Error) << "step 6 comes next";
    StepRecord again = sample_step(6);
    again.loss = 77;
    ledger.append(again);
  }
  const Ledger ledger = Ledger::open(path_);
  EXPECT_EQ(ledger.last_step(), 6);
  EXPECT_EQ(parse_step_body(ledger.find_step(6).value(), "").loss, 77);
  EXPECT_EQ(ledger.skipped().batch_of(6), 9);
  EXPECT_TRUE(ledger.state_root_known(sha256("state 4"))) << "before the rollback's step";
  EXPECT_FALSE(ledger.state_root_known(sha256("state 8"))) << "undone";
  EXPECT_EQ(ledger.state_root_of(4), sha256("state 4"));
  EXPECT_FALSE(ledger.state_root_of(8).has_value());
  EXPECT_EQ(ledger.state_roots().size(), 2U) << "genesis and step 4";
}

TEST_F(LedgerTest, ALineHasALength) {
  Ledger ledger = started(path_);
  const std::string whole = bytes();
  EXPECT_THROW(ledger.append_event("spike", {{"step", 0}, {"details", std::string(65536, 'a')}}), Error);
  EXPECT_EQ(whole, bytes());
  // What a resume has to say is cut until it fits, whatever it is made of, and never inside a character.
  for (const std::string piece : {"a", "\"", "\\", "\n", "\u00e9", "\u7a7a"}) {
    std::string text;
    while (text.size() < 20'000) text += piece;
    ledger.append_event("resume", resume_details({.step = 0,
                                                  .kernel_set = sample_genesis().kernel_set,
                                                  .layout = "1x1x1",
                                                  .torn_bytes = 1,
                                                  .problems = std::vector<std::string>(50, text)}));
  }
  EXPECT_EQ(8, Ledger::open_read_only(path_).record_count());
}

TEST_F(LedgerTest, TheGenesisAloneTellsWhoseItIs) {
  write_sample(2);
  EXPECT_EQ(sample_genesis().contract, Ledger::genesis_of(path_).contract);
  const std::string whole = bytes();
  replace(whole.substr(0, whole.find('\n') + 1) + "not a record\n");
  EXPECT_EQ(sample_genesis().kernel_set, Ledger::genesis_of(path_).kernel_set);
  for (const std::string& text : {std::string(), std::string("{}\n"), whole.substr(whole.find('\n') + 1)}) {
    replace(text);
    EXPECT_THROW(Ledger::genesis_of(path_), Error) << text;
  }
}

TEST_F(LedgerTest, AStepHasOneState) {
  Ledger ledger = started(path_);
  for (std::int64_t step = 1; step <= 4; ++step) ledger.append(sample_step(step));
  const auto checkpoint = [&](std::string_view state) {
    ledger.append_event("checkpoint", {{"step", 4}, {"state_root", to_hex(sha256(state))}});
  };
  EXPECT_THROW(checkpoint("another state"), Error);
  checkpoint("state 4");
  EXPECT_THROW(checkpoint("state 4"), Error) << "a session saves a step once";
}

TEST_F(LedgerTest, DoubleBits) {
  EXPECT_EQ("3ff0000000000000", double_bits(1.0));
  EXPECT_EQ("8000000000000000", double_bits(-0.0));
  EXPECT_EQ("7ff8000000000000", double_bits(-std::numeric_limits<double>::quiet_NaN()));
  EXPECT_TRUE(std::isnan(parse_double_bits(double_bits(std::nan("1")))));
  for (const double x : {0.1, -3e300, 5e-324}) EXPECT_EQ(x, parse_double_bits(double_bits(x)));
  for (const char* text : {"", "3ff", "3FF0000000000000", "3ff000000000000g", "3ff00000000000000"})
    EXPECT_THROW(parse_double_bits(text), Error) << text;
}

TEST_F(LedgerTest, StepDifferences) {
  StepRecord a = sample_step(4);
  StepRecord b = a;
  b.state_root.reset();
  EXPECT_TRUE(step_differences(step_body(a), step_body(b)).empty());
  b.loss = std::nextafter(b.loss, 9.0);
  b.void_tensor = "head";
  EXPECT_EQ((std::vector<std::string>{"loss", "void", "void_tensor"}), step_differences(step_body(a), step_body(b)));
  b = a;
  b.state_root = sha256("another");
  EXPECT_EQ(std::vector<std::string>{"state_root"}, step_differences(step_body(a), step_body(b)));
}

TEST_F(LedgerTest, PythonChecksTheChain) {
  const std::string python = find_python();
  if (python.empty()) GTEST_SKIP() << "python3 is not installed";
  write_sample(20);
  {
    Ledger ledger = Ledger::open(path_);
    ledger.append_event("restart", {{"details", "\u00e9\u7a7a \"quoted\" \\ \t \x01 \x7f /"}, {"step", 5}});
  }
  const PythonResult result = run_python(python, "tests/proof/independent.py", "ledger " + path_.string());
  ASSERT_EQ(0, result.status) << result.output;
  EXPECT_EQ("23 " + to_hex(Ledger::open_read_only(path_).head()), result.output);
}

TEST_F(LedgerTest, ManySteps) {
  write_sample(20000);
  const auto begin = std::chrono::steady_clock::now();
  const Ledger ledger = Ledger::open_read_only(path_);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(20000, ledger.last_step());
  EXPECT_EQ(step_body(sample_step(19999)), *ledger.find_step(19999));
  std::printf("20,000 steps (%.1f MB) verified in %.2f s\n", static_cast<double>(fs::file_size(path_)) / 1e6, seconds);
}

}  // namespace
}  // namespace baekji
