#pragma once
// What the tests of the log share: ledgers to publish, and files that are fast and can fail.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/random.h"
#include "proof/ledger.h"
#include "proof/log.h"
#include "tests/key_files.h"

namespace baekji {

namespace fs = std::filesystem;

// Files without waiting for the disk; after `operations_left` changes each further one fails, a write after its half.
class LogFiles final : public FileSystem {
 public:
  std::int64_t operations_left = std::int64_t{1} << 40;

  std::unique_ptr<AppendFile> open_append(const fs::path& path) override { return real().open_append(path); }
  std::string read(const fs::path& path) override { return real().read(path); }
  void write(const fs::path& path, std::string_view bytes) override {
    const bool whole = operations_left > 0;
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes.substr(0, whole ? bytes.size() : bytes.size() / 2);
    count();
  }
  void truncate(const fs::path& path, std::int64_t size) override { real().truncate(path, size); }
  void rename(const fs::path& from, const fs::path& to) override {
    count();
    fs::rename(from, to);
  }
  void sync(const fs::path& /*path*/) override {}
  void create_directories(const fs::path& path) override {
    count();
    fs::create_directories(path);
  }
  void remove_all(const fs::path& path) override {
    count();
    fs::remove_all(path);
  }
  bool exists(const fs::path& path) override { return fs::exists(path); }
  std::vector<std::string> list(const fs::path& path) override { return real().list(path); }

 private:
  static FileSystem& real() { return posix_file_system(); }
  void count() {
    if (operations_left <= 0) throw Error("cannot write a file").values("success", "No space left on device");
    operations_left -= 1;
  }
};

inline const Digest& test_contract() {
  static const Digest kContract = sha256("contract");
  return kContract;
}

// The files of a folder by name.
inline std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file())
      files[entry.path().lexically_relative(folder).generic_string()] = posix_file_system().read(entry.path());
  }
  return files;
}

inline std::string error_of(const auto& action) {
  try {
    action();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              fmt::format("log_{}_{}", getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static void append_line(Ledger& ledger, const std::string& text) {
    ledger.append_event("restart", {{"step", 0}, {"details", fmt::format("{} {}", text, ledger.record_count())}});
  }
  // A ledger of so many lines; a shorter one is the beginning of a longer one.
  fs::path ledger_of(std::int64_t size, const std::string& name = "ledger.jsonl") const {
    Ledger ledger = Ledger::create(folder_ / name, {.contract = test_contract(),
                                                    .state_root = sha256("state 0"),
                                                    .kernel_set = cpu_kernel_set({{"onednn", "2.6.3"}})});
    while (ledger.record_count() < size) append_line(ledger, "line");
    return folder_ / name;
  }
  static std::vector<std::string> lines_of(const fs::path& ledger) {
    LedgerLines reader(ledger);
    std::vector<std::string> lines;
    while (const auto line = reader.next()) lines.push_back(*line);
    return lines;
  }
  LogWriter open_log(const fs::path& log, const fs::path& ledger, const std::string& key = "owner") {
    return LogWriter({.folder = log,
                      .ledger = ledger,
                      .contract = test_contract(),
                      .key = test_key(folder_, key),
                      .kernel_sets = {sha256("kernel set b"), sha256("kernel set a"), sha256("kernel set b")},
                      .files = files_});
  }
  Ed25519PublicKey public_key(const std::string& name = "owner") const { return test_key(folder_, name).public_key(); }

  LogTrust trust(const std::string& name = "owner") const { return {.owner = public_key(name), .revocations = {}}; }

  fs::path folder_;
  LogFiles files_;
};

}  // namespace baekji
