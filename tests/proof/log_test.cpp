// The log as it should be: names, bytes, growth, proofs, witnesses.

#include "tests/proof/log_fixture.h"
#include "tests/python.h"

namespace baekji {
namespace {

// What the log's files must be, from the document's words and with nothing of log_tiles.*: whole levels of the tree in
// memory.
std::map<std::string, std::string> expected_tiles(const std::vector<std::string>& lines, std::size_t size) {
  std::map<std::string, std::string> files;
  const auto name = [](std::size_t n) {
    std::string digits = std::to_string(n);
    while (digits.size() % 3 != 0) digits.insert(0, "0");
    std::string path;
    for (std::size_t i = 0; i < digits.size(); i += 3)
      path += (i + 3 < digits.size() ? "x" + digits.substr(i, 3) + "/" : digits.substr(i, 3));
    return path;
  };
  const auto put = [&](const std::string& level, std::size_t tile, std::size_t width, const std::string& bytes) {
    files["tile/" + level + "/" + name(tile) + (width < 256 ? ".p/" + std::to_string(width) : "")] += bytes;
  };
  std::vector<Digest> nodes;
  for (std::size_t i = 0; i < size; ++i) {
    const std::string& line = lines[i];
    nodes.push_back(sha256(std::string(1, '\0') + line));
    const std::string length{static_cast<char>(line.size() / 256), static_cast<char>(line.size() % 256)};
    put("entries", i / 256, std::min<std::size_t>(256, size - i / 256 * 256), length + line);
  }
  for (int level = 0; !nodes.empty(); ++level) {
    for (std::size_t i = 0; i < nodes.size(); ++i)
      put(std::to_string(level), i / 256, std::min<std::size_t>(256, nodes.size() - i / 256 * 256), as_text(nodes[i]));
    std::vector<Digest> above;
    for (std::size_t i = 0; i + 256 <= nodes.size(); i += 256)
      above.push_back(merkle_root(std::span(nodes).subspan(i, 256)));
    nodes = above;
  }
  return files;
}

TEST_F(LogTest, TileNames) {
  const std::pair<TileName, const char*> cases[] = {{{0, 0, 256}, "tile/0/000"},
                                                    {{0, 1234067, 256}, "tile/0/x001/x234/067"},
                                                    {{1, 999, 1}, "tile/1/999.p/1"},
                                                    {{2, 1000, 255}, "tile/2/x001/000.p/255"},
                                                    {{kEntriesLevel, 42, 256}, "tile/entries/042"},
                                                    {{kEntriesLevel, 1000000, 17}, "tile/entries/x001/x000/000.p/17"}};
  for (const auto& [name, path] : cases) {
    EXPECT_EQ(tile_path(name), path);
    EXPECT_EQ(parse_tile_path(path), name) << path;
  }
  const char* const bad[] = {"",
                             "tile",
                             "tile/0",
                             "tile/0/00",
                             "tile/0/0000",
                             "tile/0/x000/000",
                             "tile/0/001/000",
                             "tile/0/x001",
                             "tile/00/000",
                             "tile/-1/000",
                             "tile/8/000",
                             "tile/0/000.p/0",
                             "tile/0/000.p/256",
                             "tile/0/000.p/01",
                             "tile/0/000.p/",
                             "tile/0/000.p",
                             "tile/0/000/",
                             "tile/0/000.new",
                             "tile/entries/abc",
                             "tile/0/-01",
                             "tiles/0/000",
                             "checkpoint"};
  for (const char* path : bad) EXPECT_FALSE(parse_tile_path(path)) << path;
  std::printf("%zu names both ways, %zu that are none\n", std::size(cases), std::size(bad));
}

TEST_F(LogTest, FilesAreWhatTheDocumentSays) {
  const fs::path ledger = ledger_of(66100);
  const std::vector<std::string> lines = lines_of(ledger);
  for (const std::int64_t size : {1, 2, 255, 256, 257, 511, 512, 65535, 65536, 65537, 66048}) {
    const fs::path log = folder_ / std::to_string(size);
    LogWriter writer = open_log(log, ledger);
    EXPECT_EQ(writer.size(), 0);
    writer.publish(size);
    EXPECT_EQ(writer.size(), size);
    auto files = files_of(log);
    const SignedNote note = parse_note(files.at("checkpoint"), "test");
    const SignedNote opening = parse_note(files.at("opening"), "test");
    files.erase("checkpoint");
    files.erase("opening");
    const auto expected = expected_tiles(lines, static_cast<std::size_t>(size));
    ASSERT_EQ(files.size(), expected.size()) << size;
    for (const auto& [path, bytes] : expected) {
      ASSERT_TRUE(files.contains(path)) << size << ": " << path;
      ASSERT_EQ(files.at(path), bytes) << size << ": " << path;
    }
    std::vector<Digest> leaves;
    for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) leaves.push_back(merkle_leaf(lines[i]));
    const std::string origin = "baekji/" + to_hex(test_contract());
    EXPECT_EQ(note.text, fmt::format("{}\n{}\n{}\nopening {}\n", origin, size,
                                     encode_base64(as_text(merkle_root(leaves))), to_hex(sha256(opening.text))));
    ASSERT_EQ(note.signatures.size(), 1U);
    verify_note(note, origin, public_key(), "test");
    if (has_openssl_program()) {
      EXPECT_TRUE(openssl_agrees(folder_, public_key(), note.text, note.signatures[0].bytes)) << size;
    }
    std::printf("size %5lld: %zu files, root %s\n", static_cast<long long>(size), files.size() + 1,
                to_hex(merkle_root(leaves)).substr(0, 16).c_str());
  }
}

TEST_F(LogTest, ALongLogVerifiesAndProvesItsGrowthFromTilesAlone) {
  const fs::path ledger = ledger_of(66100);
  const std::vector<std::string> lines = lines_of(ledger);
  const fs::path log = folder_ / "log";
  LogWriter writer = open_log(log, ledger);
  std::vector<TreeHead> heads;
  for (const std::int64_t size : {1, 200, 300, 5000, 65536, 66000}) {
    writer.publish(size);
    heads.push_back(parse_checkpoint_text(parse_note(files_.read(log / "checkpoint"), "test").text, "test").head);
    const MerkleNodes nodes = tile_nodes(log, size);
    EXPECT_EQ(tree_head(size, nodes), heads.back().root) << size;
    for (const TreeHead& earlier : heads)
      EXPECT_TRUE(extends(earlier, heads.back(), consistency_proof(earlier.size, size, nodes))) << size;
    for (const std::int64_t index : {std::int64_t{0}, size / 2, size - 1}) {
      EXPECT_TRUE(includes(heads.back().root, size, merkle_leaf(lines[static_cast<std::size_t>(index)]), index,
                           inclusion_proof(index, size, nodes)));
    }
  }
  const LogReport report = verify_log(log, ledger, trust());
  EXPECT_EQ(report.checkpoint.head.size, 66000);
  EXPECT_EQ(report.ledger_records, 66100);
  EXPECT_EQ(report.leftover_files, 0);
  std::printf("%lld of %lld lines published: %lld tiles and %lld files of entries verified\n",
              static_cast<long long>(report.checkpoint.head.size), static_cast<long long>(report.ledger_records),
              static_cast<long long>(report.tile_files), static_cast<long long>(report.entry_files));
}

TEST_F(LogTest, GrowthInRandomStepsEqualsGrowthAtOnce) {
  const RandomStream random("log", 7, "steps");
  std::uint64_t draws = 0;
  const fs::path ledger = ledger_of(2600);
  for (int round = 0; round < 20; ++round) {
    const fs::path steps = folder_ / fmt::format("steps{}", round);
    const fs::path once = folder_ / fmt::format("once{}", round);
    std::int64_t size = 0;
    while (size < 1400) {
      // Now and then by another process, that goes on from what is on the disk.
      LogWriter writer = open_log(steps, ledger);
      EXPECT_EQ(writer.size(), size);
      EXPECT_EQ(writer.mended(), 0);
      for (auto n = static_cast<int>(random.below(draws++, 4)); n >= 0; --n) {
        size += static_cast<std::int64_t>(random.below(draws++, 300));
        writer.publish(size);
      }
    }
    open_log(once, ledger).publish(size);
    auto grown = files_of(steps);
    for (const auto& [path, bytes] : files_of(once)) {
      ASSERT_EQ(grown[path], bytes) << path << " at " << size;
      grown.erase(path);
    }
    // More than that are only earlier forms of tiles that are still partial.
    for (const auto& [path, bytes] : grown) {
      const auto name = parse_tile_path(path);
      ASSERT_TRUE(name) << path;
      EXPECT_LT(name->width, nodes_at(name->level, size) - name->index * 256) << path;
      EXPECT_GT(name->index * 256 + 256, nodes_at(name->level, size)) << path;
    }
    (void)verify_log(steps, ledger, trust());
  }
  std::printf("20 logs grown in random steps, %llu draws\n", static_cast<unsigned long long>(draws));
}

TEST_F(LogTest, AnEarlierCheckpointWithWitnessesHoldsLater) {
  const fs::path log = folder_ / "log";
  const fs::path ledger = ledger_of(900);
  LogWriter writer = open_log(log, ledger);
  writer.publish(300);
  SignedNote note = parse_note(files_.read(log / "checkpoint"), "test");
  cosign_note(note, "witness.example/1", test_key(folder_, "w1"), 1700000000);
  cosign_note(note, "witness.example/2", test_key(folder_, "w2"), 1700000060);
  const fs::path kept = write_file(folder_ / "kept", write_note(note));
  // Witnesses may put theirs into the folder: publishing the same size again leaves them.
  write_file(log / "checkpoint", write_note(note));
  writer.publish(300);
  EXPECT_EQ(files_.read(log / "checkpoint"), write_note(note));
  EXPECT_EQ(open_log(log, ledger).size(), 300);
  writer.publish(900);
  const std::vector<Witness> witnesses{{"witness.example/1", public_key("w1")},
                                       {"witness.example/2", public_key("w2")}};
  const WitnessedCheckpoint found = verify_checkpoint(kept, log, ledger, trust(), witnesses);
  EXPECT_EQ(found.checkpoint.head.size, 300);
  EXPECT_EQ(found.times_s, (std::vector<std::int64_t>{1700000000, 1700000060}));
  if (has_openssl_program()) {
    const std::string message = "cosignature/v1\ntime 1700000060\n" + note.text;
    EXPECT_TRUE(openssl_agrees(folder_, public_key("w2"), message, note.signatures[2].bytes.substr(8)));
  }
  const std::vector<Witness> wrong{{"witness.example/1", public_key("w2")}};
  EXPECT_THROW(verify_checkpoint(kept, log, ledger, trust(), wrong), Error);
  EXPECT_THROW(verify_checkpoint(kept, log, ledger, trust("w1")), Error);
  // Another time than the witness signed.
  note.signatures[1].bytes[7] = static_cast<char>(note.signatures[1].bytes[7] ^ 1);
  const fs::path moved = write_file(folder_ / "moved", write_note(note));
  EXPECT_THROW(verify_checkpoint(moved, log, ledger, trust(), witnesses), Error);
  EXPECT_EQ(verify_checkpoint(moved, log, ledger, trust()).checkpoint.head.size, 300);
  EXPECT_THROW(verify_checkpoint(folder_ / "none", log, ledger, trust()), Error);
  std::printf("a checkpoint of 300 lines with 2 witnesses holds for a ledger of 900\n");
}

TEST_F(LogTest, AnotherProgramReadsTheDocumentTheSame) {
  const std::string python = find_python();
  if (python.empty() || !has_openssl_program()) GTEST_SKIP() << "python3 or openssl is not installed";
  const fs::path log = folder_ / "log";
  const fs::path ledger = ledger_of(1100);
  LogWriter writer = open_log(log, ledger);
  const auto judge = [&](const std::string& more = "") {
    return run_python(python, "tests/proof/independent_log.py",
                      fmt::format("'{}' '{}' '{}' {}", ledger.string(), log.string(),
                                  write_public_key(folder_ / "owner.pub", public_key()).string(), more));
  };
  for (const std::int64_t size : {1, 255, 256, 257, 300, 768, 1000}) {
    writer.publish(size);
    const LogReport report = verify_log(log, ledger, trust());
    const PythonResult result = judge();
    ASSERT_EQ(0, result.status) << result.output;
    EXPECT_EQ(
        fmt::format("{} {} {}", size, to_hex(report.checkpoint.head.root), report.tile_files + report.entry_files + 2),
        result.output);
    std::printf("%s\n", result.output.c_str());
  }
  SignedNote note = parse_note(files_.read(log / "checkpoint"), "test");
  cosign_note(note, "witness.example/1", test_key(folder_, "w1"), 1700000000);
  write_file(log / "checkpoint", write_note(note));
  const std::string witness =
      "witness.example/1 '" + write_public_key(folder_ / "w1.pub", public_key("w1")).string() + "'";
  EXPECT_TRUE(judge(witness).output.ends_with(" 1700000000")) << judge(witness).output;
  // It is no rubber stamp.
  const std::string good = files_.read(log / "tile/entries/002");
  write_file(log / "tile/entries/002", good.substr(0, good.size() - 1) + "x");
  EXPECT_NE(0, judge().status);
}

TEST_F(LogTest, CheckpointTextsHaveOneSpelling) {
  const std::string root = encode_base64(std::string(32, 'r'));
  const std::string opening = "opening " + to_hex(sha256("o")) + "\n";
  const LogCheckpoint good = parse_checkpoint_text("baekji/x\n12\n" + root + "\n" + opening, "test");
  EXPECT_EQ(good.head.size, 12);
  EXPECT_EQ(as_text(good.head.root), std::string(32, 'r'));
  EXPECT_EQ(good.opening, sha256("o"));
  const std::string bad[] = {"",
                             "baekji/x\n",
                             "baekji/x\n12\n",
                             "baekji/x\n12\n" + root,
                             "baekji/x\n12\n" + root + "\n",
                             "baekji/x\n12\n" + root + "\nmore\n",
                             "baekji/x\n12\n" + root + "\nopening \n",
                             "baekji/x\n12\n" + root + "\nopening " + std::string(64, 'X') + "\n",
                             "baekji/x\n12\n" + root + "\n" + opening + "more\n",
                             "baekji/x\n012\n" + root + "\n" + opening,
                             "baekji/x\n-1\n" + root + "\n" + opening,
                             "baekji/x\n+1\n" + root + "\n" + opening,
                             "baekji/x\n1 \n" + root + "\n" + opening,
                             "baekji/x\n99999999999999999999\n" + root + "\n" + opening,
                             "baekji/x\n12\n" + encode_base64(std::string(31, 'r')) + "\n" + opening,
                             "baekji/x\n12\n" + root + " \n" + opening,
                             "baekji/x\n12\n\n" + opening};
  for (const std::string& text : bad) EXPECT_THROW(parse_checkpoint_text(text, "test"), Error) << text;
  std::printf("%zu other texts refused\n", std::size(bad));
}

}  // namespace
}  // namespace baekji
