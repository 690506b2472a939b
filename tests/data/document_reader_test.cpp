#include "data/document_reader.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/data/test_files.h"

namespace baekji {
namespace {

using testing_data::error_of;
using testing_data::fresh_folder;
using testing_data::write_file;

std::string gzip(std::string_view text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, static_cast<uLong>(text.size())) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view text) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // as the zstd program writes it
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return out;
}

class DocumentReaderTest : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = fresh_folder(); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<std::string> read(const std::vector<std::string>& names, const InputOptions& base = {}) {
    InputOptions options = base;
    for (const std::string& name : names) options.files.push_back(folder_ / name);
    DocumentReader reader(options);
    std::vector<std::string> texts;
    for (Document document; reader.next(document);) texts.push_back(document.text);
    digests_ = reader.file_digests();
    EXPECT_EQ(reader.file_bytes_read(), reader.file_bytes_total());
    return texts;
  }
  std::string failure(const std::string& name, const InputOptions& base = {}) {
    return error_of([&] { read({name}, base); });
  }

  std::filesystem::path folder_;
  std::string digests_;
};

using Texts = std::vector<std::string>;

TEST_F(DocumentReaderTest, ReadsTextAndJsonLinesPlainAndCompressed) {
  const std::string json =
      "{\"text\": \"one\\nline\", \"n\": 1}\n\n  \n{\"text\":\"\xed\x95\x9c\\ud83d\\ude42\"}\r\n{\"text\":\"\"}";
  const Texts expected{"one\nline", "\xed\x95\x9c\xf0\x9f\x99\x82", ""};
  write_file(folder_ / "a.jsonl", json);
  write_file(folder_ / "a.jsonl.gz", gzip(json));
  write_file(folder_ / "a.json.zst", zstd(json));
  for (const std::string name : {"a.jsonl", "a.jsonl.gz", "a.json.zst"}) EXPECT_EQ(read({name}), expected) << name;
  EXPECT_EQ(digests_, to_hex(sha256(zstd(json))) + "  a.json.zst\n");

  write_file(folder_ / "b.txt", "line\n\nlast without newline");
  write_file(folder_ / "b.txt.gz", gzip("first ") + gzip("member\n"));
  EXPECT_EQ(read({"b.txt", "a.jsonl", "b.txt.gz"}),
            (Texts{"line\n\nlast without newline", "one\nline", "\xed\x95\x9c\xf0\x9f\x99\x82", "", "first member\n"}));
}

TEST_F(DocumentReaderTest, SplitsTextAtSeparatorLines) {
  write_file(folder_ / "a.txt", "\xef\xbb\xbf%\none\ntwo\n%\n%\r\nthree %\n%\nfour");
  EXPECT_EQ(read({"a.txt"}, {.separator = "%"}), (Texts{"one\ntwo\n", "three %\n", "four"}));
}

TEST_F(DocumentReaderTest, ReadsLargeFilesInPieces) {
  std::string json;
  Texts expected;
  for (int i = 0; i < 3000; ++i) {
    expected.push_back(std::string(static_cast<std::size_t>(i % 700), static_cast<char>('a' + i % 26)));
    json += "{\"text\":\"" + expected.back() + "\"}\n";
  }
  expected.push_back(std::string(3'000'000, 'z'));
  json += "{\"text\":\"" + expected.back() + "\"}\n";
  write_file(folder_ / "a.jsonl.gz", gzip(json));
  write_file(folder_ / "a.jsonl.zst", zstd(json));
  EXPECT_EQ(read({"a.jsonl.gz"}), expected);
  EXPECT_EQ(read({"a.jsonl.zst"}), expected);
}

TEST_F(DocumentReaderTest, ChoosesTheTextField) {
  write_file(folder_ / "a.jsonl", "{\"body\": \"x\", \"meta\": {\"t\": \"y\"}}\n");
  EXPECT_EQ(read({"a.jsonl"}, {.text_field = "body"}), Texts{"x"});
  EXPECT_EQ(read({"a.jsonl"}, {.text_field = "/meta/t"}), Texts{"y"});
}

TEST_F(DocumentReaderTest, NamesFileAndLineOfBadJson) {
  write_file(folder_ / "bad.jsonl", "{\"text\": \"ok\"}\n\n{\"text\": \"ok\",}\n");
  const std::string bad = failure("bad.jsonl");
  EXPECT_NE(bad.find("bad.jsonl:3"), std::string::npos) << bad;
  write_file(folder_ / "field.jsonl", "{\"text\": \"ok\"}\n{\"body\": \"no\"}\n");
  const std::string field = failure("field.jsonl");
  EXPECT_NE(field.find("field.jsonl:2"), std::string::npos) << field;
  EXPECT_NE(field.find("'text'"), std::string::npos) << field;
  write_file(folder_ / "type.jsonl", "{\"text\": 7}\n");
  EXPECT_NE(failure("type.jsonl").find("not text"), std::string::npos);
  write_file(folder_ / "array.jsonl", "[1]\n");
  EXPECT_NE(failure("array.jsonl").find("not an object"), std::string::npos);
  write_file(folder_ / "utf8.jsonl", "{\"text\": \"\xff\"}\n");
  EXPECT_NE(failure("utf8.jsonl").find("utf8.jsonl:1"), std::string::npos);
  write_file(folder_ / "surrogate.jsonl", "{\"text\": \"\\ud800\"}\n");
  EXPECT_NE(failure("surrogate.jsonl").find("surrogate.jsonl:1"), std::string::npos);
  write_file(folder_ / "two.jsonl", "{\"text\": \"a\"} {\"text\": \"b\"}\n");
  EXPECT_NE(failure("two.jsonl").find("two.jsonl:1"), std::string::npos);
  std::printf("%s\n%s\n", bad.c_str(), field.c_str());
}

TEST_F(DocumentReaderTest, RefusesTruncatedAndDamagedCompression) {
  const std::string text = testing_data::some_text(9, 3000);
  for (const std::string name : {"a.txt.gz", "a.txt.zst"}) {
    const std::string whole = name.ends_with("gz") ? gzip(text) : zstd(text);
    for (const std::size_t keep : {whole.size() - 1, whole.size() / 2, std::size_t{5}, std::size_t{0}}) {
      write_file(folder_ / name, std::string_view(whole).substr(0, keep));
      const std::string problem = failure(name);
      EXPECT_NE(problem.find("too early"), std::string::npos) << name << " " << keep << ": " << problem;
      EXPECT_NE(problem.find(name), std::string::npos);
    }
    write_file(folder_ / name, "plain text, really");
    EXPECT_NE(failure(name).find("damaged"), std::string::npos);
    write_file(folder_ / name, whole + "trailing rubbish");
    EXPECT_NE(failure(name).find("damaged"), std::string::npos);
    std::string flipped = whole;
    flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 0x55);
    write_file(folder_ / name, flipped);
    EXPECT_NE(failure(name).find(name), std::string::npos);
  }
  write_file(folder_ / "hidden.txt", gzip(text));
  EXPECT_NE(failure("hidden.txt").find("extension"), std::string::npos);
}

TEST_F(DocumentReaderTest, RefusesUnknownKindsAndOverlongDocuments) {
  write_file(folder_ / "a.pdf", "x");
  EXPECT_NE(failure("a.pdf").find("unknown kind"), std::string::npos);
  EXPECT_NE(failure("none.txt").find("no such input file"), std::string::npos);
  std::filesystem::create_directories(folder_ / "d.txt");
  EXPECT_NE(failure("d.txt").find("directory"), std::string::npos);
  write_file(folder_ / "long.txt", std::string(1'000'000, 'x'));
  EXPECT_NE(failure("long.txt", {.max_document_bytes = 500'000}).find("longer"), std::string::npos);
  std::string lines;
  for (int i = 0; i < 100'000; ++i) lines += "0123456789\n";
  write_file(folder_ / "lines.txt", lines);
  EXPECT_NE(failure("lines.txt", {.max_document_bytes = 500'000}).find("too long"), std::string::npos);
  EXPECT_THROW(DocumentReader({}), Error);
}

}  // namespace
}  // namespace baekji
