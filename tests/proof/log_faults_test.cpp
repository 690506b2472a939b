// The log when something is wrong: damage, rewritten ledgers, crashes.

#include "tests/proof/log_fixture.h"

namespace baekji {
namespace {

TEST_F(LogTest, OneFlippedBitInAnyFileIsFound) {
  const fs::path ledger = ledger_of(700);
  const fs::path log = folder_ / "log";
  {
    LogWriter writer = open_log(log, ledger);
    for (const std::int64_t size : {600, 620, 650}) writer.publish(size);
  }
  const RandomStream random("log", 8, "flips");
  std::uint64_t draws = 0;
  std::map<std::string, int> flips;
  std::vector<fs::path> paths{ledger};
  for (const auto& [path, bytes] : files_of(log)) paths.push_back(log / path);
  EXPECT_EQ(paths.size(), 1U + 2 + 2 * (2 + 3) + 1);
  for (const fs::path& path : paths) {
    const std::string good = files_.read(path);
    // Of the ledger what is published: a crash can leave its last line torn.
    const std::size_t bytes = path == ledger ? good.find(lines_of(ledger)[650]) : good.size();
    for (int n = 0; n < 12; ++n) {
      std::string bad = good;
      const std::uint64_t bit = random.below(draws++, bytes * 8);
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      write_file(path, bad);
      const std::string said = error_of([&] { (void)verify_log(log, ledger, trust()); });
      EXPECT_FALSE(said.empty()) << path << " bit " << bit;
      const bool of_ledger = path == ledger || path.filename() == "checkpoint";
      EXPECT_TRUE(of_ledger || said.find(path.string()) != std::string::npos) << said;
      flips[path.lexically_relative(folder_).generic_string()] += 1;
    }
    write_file(path, good);
  }
  (void)verify_log(log, ledger, trust());
  for (const auto& [path, count] : flips) std::printf("%2d flips found in %s\n", count, path.c_str());
}

TEST_F(LogTest, MissingAndForeignFilesAreNamed) {
  const fs::path ledger = ledger_of(700);
  const fs::path log = folder_ / "log";
  open_log(log, ledger).publish(650);
  const auto said = [&] { return error_of([&] { (void)verify_log(log, ledger, trust()); }); };
  const auto whole = files_of(log);
  for (const auto& [path, bytes] : whole) {
    fs::remove(log / path);
    EXPECT_FALSE(said().empty()) << path;
    write_file(log / path, bytes);
  }
  EXPECT_EQ(said(), "");
  for (const char* path :
       {"stranger", "tile/0/000.p/1.txt", "tile/1/000", "tile/1/000.p/3", "tile/entries/002.p/200"}) {
    fs::create_directories((log / path).parent_path());
    write_file(log / path, "x");
    EXPECT_NE(said().find(path), std::string::npos) << path << ": " << said();
    fs::remove(log / path);
  }
  write_file(log / "tile/0/001.new", "half");
  EXPECT_EQ(verify_log(log, ledger, trust()).leftover_files, 1);
  const std::string another = error_of([&] { (void)verify_log(log, ledger, trust("another")); });
  EXPECT_NE(another.find("the key is none of this log's"), std::string::npos) << another;
  std::printf("%zu files missed in turn, 5 foreign ones named, another key refused\n", whole.size());
}

TEST_F(LogTest, ARewrittenOrShortenedLedgerIsRefused) {
  const fs::path ledger = ledger_of(400);
  const fs::path log = folder_ / "log";
  open_log(log, ledger).publish(300);
  const std::string good = files_.read(ledger);
  const std::size_t line_300 = good.find(lines_of(ledger)[299]);
  // A ledger of the same contract whose chain is whole, but that tells another story from line 200 on.
  const fs::path other = folder_ / "other.jsonl";
  ledger_of(200, "other.jsonl");
  {
    Ledger rewritten = Ledger::open(other);
    while (rewritten.record_count() < 400) append_line(rewritten, "invented");
  }
  const std::string forged = files_.read(other);
  struct Case {
    const char* what;
    std::string bytes;
    const char* came;
  };
  const Case cases[] = {{"299 lines", good.substr(0, line_300), "299 lines"},
                        {"torn in line 300", good.substr(0, line_300 + 20), "299 lines"},
                        {"200 lines, then others", forged, "300 lines, root"}};
  const auto before = files_of(log);
  for (const Case& c : cases) {
    write_file(ledger, c.bytes);
    for (const std::string& said : {error_of([&] { (void)open_log(log, ledger); }),
                                    error_of([&] { check_published(log, ledger, test_contract()); }),
                                    error_of([&] { (void)verify_log(log, ledger, trust()); }), error_of([&] {
                                      (void)verify_checkpoint(log / "checkpoint", log, ledger, trust());
                                    })}) {
      for (const char* part : {"the ledger was rewritten behind a published size", "300 lines, root", c.came, "HINT"})
        EXPECT_NE(said.find(part), std::string::npos) << c.what << ": " << said;
    }
    EXPECT_EQ(files_of(log), before) << "a refused ledger changes nothing";
  }
  std::printf("%s\n", error_of([&] { (void)open_log(log, ledger); }).c_str());
  write_file(ledger, good);
  EXPECT_NE(error_of([&] { check_published(log, ledger, sha256("another")); }).find("another experiment"),
            std::string::npos);
  EXPECT_NE(error_of([&] { (void)open_log(log, ledger, "another"); }).find("goes on under another key"),
            std::string::npos);
  EXPECT_EQ(open_log(log, ledger).size(), 300);
}

TEST_F(LogTest, ACrashAtAnyMomentLeavesTheEarlierLog) {
  const fs::path ledger = ledger_of(600);
  const fs::path log = folder_ / "log";
  std::int64_t crashes = 0;
  std::int64_t leftovers = 0;
  while (true) {
    fs::remove_all(log);
    files_.operations_left = std::int64_t{1} << 40;
    LogWriter writer = open_log(log, ledger);
    writer.publish(250);
    files_.operations_left = crashes;
    const std::string said = error_of([&] { writer.publish(520); });
    files_.operations_left = std::int64_t{1} << 40;
    const LogReport report = verify_log(log, ledger, trust());
    leftovers += report.leftover_files;
    if (said.empty()) break;
    EXPECT_TRUE(report.checkpoint.head.size == 250 || report.checkpoint.head.size == 520);
    if (report.checkpoint.head.size == 250) {
      EXPECT_THROW(writer.publish(520), Error) << "open it again first";
    }
    LogWriter again = open_log(log, ledger);
    EXPECT_EQ(again.mended(), 0);
    again.publish(600);
    EXPECT_EQ(verify_log(log, ledger, trust()).leftover_files, 0) << crashes;
    EXPECT_FALSE(fs::exists(log / "tile/0/000.p")) << "partial forms of a complete tile go, after " << crashes;
    crashes += 1;
  }
  EXPECT_GT(crashes, 20);
  EXPECT_GT(leftovers, 0);
  std::printf("%lld moments of a crash, %lld files left unfinished\n", static_cast<long long>(crashes),
              static_cast<long long>(leftovers));
}

TEST_F(LogTest, DamagedTilesAreWrittenAgain) {
  const fs::path ledger = ledger_of(700);
  const fs::path log = folder_ / "log";
  open_log(log, ledger).publish(650);
  const auto whole = files_of(log);
  fs::remove(log / "tile/entries/001");
  write_file(log / "tile/0/000", "nonsense");
  fs::remove_all(log / "tile/1");
  LogWriter writer = open_log(log, ledger);
  EXPECT_EQ(writer.mended(), 3);
  EXPECT_EQ(files_of(log), whole);
  EXPECT_EQ(open_log(log, ledger).mended(), 0);
}

TEST_F(LogTest, ALineThatIsTooLongIsNoRecord) {
  const fs::path path = ledger_of(5);
  {
    Ledger ledger = Ledger::open(path);
    const auto body = [](std::size_t n) { return nlohmann::json{{"step", 0}, {"details", std::string(n, 'x')}}; };
    ledger.append_event("restart", body(100));
    LedgerLines lines(path);
    std::string line;
    while (const auto next = lines.next()) line = *next;
    ledger.append_event("restart", body(65535 - (line.size() - 100)));
    EXPECT_THROW(ledger.append_event("restart", body(65536 - (line.size() - 100))), Error);
  }
  LogWriter writer = open_log(folder_ / "log", path);
  writer.publish(7);
  EXPECT_EQ(writer.size(), 7) << "65,535 bytes";
}

}  // namespace
}  // namespace baekji
