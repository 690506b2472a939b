// Files, JSON, TOML and text of unknown origin.

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/config.h"
#include "core/error.h"
#include "core/file_system.h"
#include "core/hdf5.h"
#include "core/hdf5_writer.h"
#include "core/printable.h"
#include "core/untrusted_file.h"
#include "core/untrusted_json.h"
#include "core/untrusted_toml.h"

namespace baekji {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class UntrustedTest : public testing::Test {
 protected:
  UntrustedTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~UntrustedTest() override { fs::remove_all(folder_); }

  template <class Action>
  static std::string refusal(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  fs::path fifo() const {
    const fs::path path = folder_ / "fifo";
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return path;
  }
  fs::path socket() const {
    const fs::path path = folder_ / "socket";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const int descriptor = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << path;
    ::close(descriptor);
    return path;
  }

  fs::path folder_ = fs::path(testing::TempDir()) /
                     (std::string("untrusted.") + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(UntrustedTest, OnlyRegularFilesAreReadAndOnlyToTheirLimit) {
  const fs::path good = write("good", "1234567");
  fs::create_symlink(good, folder_ / "link");
  EXPECT_EQ(read_untrusted(good, 7), "1234567");
  EXPECT_EQ(read_untrusted(folder_ / "link", 7), "1234567") << "a link to a file is a file";
  EXPECT_THAT(refusal([&] { read_untrusted(good, 6); }), AllOf(HasSubstr("at most 6 bytes"), HasSubstr("7 bytes")));
  EXPECT_THAT(refusal([&] { read_untrusted("/proc/self/status", 6); }), HasSubstr("at most 6 bytes"))
      << "the system says that it is empty";
  const std::vector<std::pair<fs::path, std::string>> others{
      {folder_, "a directory"}, {fifo(), "a FIFO"}, {socket(), "a socket"}, {"/dev/zero", "a device"}};
  for (const auto& [path, kind] : others) {
    EXPECT_THAT(refusal([&, p = path] { read_untrusted(p, 1000); }), AllOf(HasSubstr(kind), HasSubstr(path.string())));
    EXPECT_THAT(refusal([&, p = path] { posix_file_system().read(p); }), HasSubstr(kind));
    EXPECT_THAT(refusal([&, p = path] { Hdf5File::open_read_only(p); }), HasSubstr(kind));
    EXPECT_THAT(refusal([&, p = path] { load_config(p, {}); }), HasSubstr(kind));
  }
  EXPECT_THAT(refusal([&] { read_untrusted(folder_ / "none", 1); }), HasSubstr("No such file"));
  std::printf("refused %zu kinds of files that are none, four ways each\n", others.size());
}

TEST_F(UntrustedTest, LinesHaveALimit) {
  std::stringstream stream("one\n\nthree\nlast");
  std::string line;
  std::vector<std::string> lines;
  while (read_line(stream, line, "here", 5)) lines.push_back(line);
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "", "three", "last"}));
  EXPECT_TRUE(stream.eof());
  std::stringstream exact("five!\n");
  EXPECT_TRUE(read_line(exact, line, "here", 5));
  EXPECT_FALSE(exact.eof()) << "a newline ended it";
  EXPECT_FALSE(read_line(exact, line, "here", 5));
  std::stringstream endless(std::string(100, 'x'));
  EXPECT_THAT(refusal([&] { read_line(endless, line, "here", 5); }), HasSubstr("at most 5 bytes"));
}

TEST_F(UntrustedTest, DeepJsonIsAnError) {
  const auto nested = [](std::size_t depth, const std::string& open, const std::string& close) {
    std::string text;
    for (std::size_t i = 0; i < depth; ++i) text += open;
    text += "1";
    for (std::size_t i = 0; i < depth; ++i) text += close;
    return text;
  };
  EXPECT_NO_THROW(parse_untrusted_json(nested(kMostJsonDepth, "[", "]"), "here"));
  EXPECT_THAT(refusal([&] { parse_untrusted_json(nested(kMostJsonDepth + 1, "[", "]"), "here"); }),
              AllOf(HasSubstr("nests too deeply"), HasSubstr("here")));
  for (const std::string& text : {nested(20000, "[", "]"), nested(20000, "{\"a\":", "}"), std::string(20000, '[')}) {
    EXPECT_THAT(refusal([&] { parse_untrusted_json(text, "here"); }), HasSubstr("nests too deeply"));
    EXPECT_FALSE(try_parse_json(text));
  }
  const std::string quoted = R"({"a\"[[[[":")" + std::string(500, '[') + R"(\\"})";
  EXPECT_TRUE(try_parse_json(quoted)) << "brackets in text are text";
  EXPECT_THAT(refusal([&] { parse_untrusted_json("{", "here"); }), HasSubstr("not JSON"));
}

TEST_F(UntrustedTest, DeepTomlIsAnError) {
  const auto dotted = [](int parts) {
    std::string key = "a";
    for (int i = 1; i < parts; ++i) key += ".a";
    return key;
  };
  EXPECT_NO_THROW(require_shallow_toml(dotted(kMostTomlDepth) + " = 1.5", "here"));
  const std::vector<std::string> deep{dotted(kMostTomlDepth + 1) + " = 1",
                                      "x = 1\n[" + dotted(30000) + "]\n",
                                      "[[" + dotted(30000) + "]]",
                                      "x = " + std::string(30000, '['),
                                      "x = { " + dotted(30000) + " = 1 }",
                                      "\"a\"." + dotted(30000) + " = 1",
                                      "x = [\"\"\"a\"\"\"\", " + std::string(33, '['),
                                      "x = '''\n''''', y = " + std::string(33, '{')};
  for (const std::string& text : deep) {
    EXPECT_THAT(refusal([&] { require_shallow_toml(text, "here"); }), AllOf(HasSubstr("nests"), HasSubstr("here")))
        << text.substr(0, 40);
  }
  const std::string in_text = "x = \"" + dotted(100) + "\" # " + dotted(100) + "\ny = '" + std::string(100, '[') +
                              "'\nz = \"\"\"\n" + dotted(100) + "\\\"\"\"\" " + "\n";
  EXPECT_NO_THROW(require_shallow_toml(in_text, "here")) << "dots and brackets in text and comments are neither";
  EXPECT_THAT(refusal([&] { load_config(write("deep.toml", deep[0]), {}); }), HasSubstr("deep.toml, line 1"));
  EXPECT_THAT(refusal([&] { load_config(write("large.toml", std::string(kMostConfigBytes + 1, '#')), {}); }),
              HasSubstr("larger than"));
}

TEST_F(UntrustedTest, AFileReadAloneExtendsNoOther) {
  write("base.toml", "[a]\nx = 1\n");
  const fs::path path = write("top.toml", "extends = 'base.toml'\n[a]\ny = 2\n");
  EXPECT_EQ(load_config(path, {})["a"]["x"], 1);
  EXPECT_THAT(refusal([&] { load_config_alone(path); }), HasSubstr("extends no other"));
}

TEST_F(UntrustedTest, NothingInTextMovesTheCursorOrForgesALine) {
  EXPECT_EQ(printable("plain \xEB\xB0\xB1\xEC\xA7\x80 \xC3\xA9 \xF0\x9F\x8E\x89"),
            "plain \xEB\xB0\xB1\xEC\xA7\x80 \xC3\xA9 \xF0\x9F\x8E\x89");
  EXPECT_EQ(printable("\x1b[2J\a\x7f"), "\\x1b[2J\\x07\\x7f");
  EXPECT_EQ(printable("a\n\tb\r"), "a\\n\\tb\\r");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\x9b31m")
      << "C1";
  EXPECT_EQ(printable("\xE2\x80\xAE"
                      "abc\xE2\x81\xA6\xE2\x80\xA8"),
            "\\u{202e}abc\\u{2066}\\u{2028}");
  EXPECT_EQ(printable("\xFF\xC0\xAF\xE2\x80\xED\xA0\x80\xF4\x90\x80\x80"),
            "\\xff\\xc0\\xaf\\xe2\\x80\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80")
      << "overlong, cut, surrogate, beyond the last";
  EXPECT_EQ(printable_lines("a\n  required: b\nverified"), "a\n  required: b\\nverified");
  EXPECT_EQ(printable_text("a\n\tb\x1b"), "a\n\tb\\x1b");
  EXPECT_THAT(printable_lines(std::string(100000, 'x')), HasSubstr("(100000 bytes)"));
  const std::string text =
      Error("bad \x1b[1m").values("x\nverified: all", "\xE2\x80\xAE").at("name\x07").hint("\x1b]0;title\a").what();
  EXPECT_THAT(text, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\nverified")), Not(HasSubstr("\x07")),
                          HasSubstr("\\x1b[1m"), HasSubstr("\\u{202e}")));
}

TEST_F(UntrustedTest, NoWriterFollowsALinkOrWaitsForAReader) {
  FileSystem& files = posix_file_system();
  const fs::path victim = write("victim", "precious");
  const fs::path link = folder_ / "link";
  fs::create_symlink(victim, link);
  fs::create_symlink(folder_ / "not there", folder_ / "dangling");
  const fs::path pipe = fifo();
  for (const fs::path& path : {link, folder_ / "dangling"}) {
    EXPECT_THAT(refusal([&] { files.write(path, "x"); }), AllOf(HasSubstr("symbolic link"), HasSubstr(path.string())));
    EXPECT_THAT(refusal([&] { files.open_append(path); }), HasSubstr("symbolic link"));
    EXPECT_THAT(refusal([&] { files.truncate(path, 1); }), HasSubstr("symbolic link"));
    EXPECT_THAT(refusal([&] { Hdf5Writer writer(path); }), HasSubstr("symbolic link"));
  }
  EXPECT_NE(refusal([&] { files.write(pipe, "x"); }), "");
  EXPECT_NE(refusal([&] { files.open_append(pipe); }), "");
  EXPECT_NE(refusal([&] { Hdf5Writer writer(pipe); }), "");
  EXPECT_EQ(files.read(victim), "precious");
  EXPECT_FALSE(fs::exists(folder_ / "not there"));
  files.write(folder_ / "new", "x");
  files.rename(folder_ / "new", link);
  EXPECT_EQ(files.read(victim), "precious") << "renaming puts a file in the link's place";
  EXPECT_EQ(files.read(link), "x");
  fs::create_directory(folder_ / "real");
  fs::create_directory_symlink(folder_ / "real", folder_ / "run");
  files.write(folder_ / "run" / "ledger", "x");
  EXPECT_EQ(files.read(folder_ / "real" / "ledger"), "x") << "a folder may be a link";
}

}  // namespace
}  // namespace baekji
