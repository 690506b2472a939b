#include "core/file_system.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/error.h"

namespace baekji {
namespace {

class FileSystemTest : public ::testing::Test {
 protected:
  FileSystemTest() {
    files_.remove_all(directory_);
    files_.create_directories(directory_ / "deep" / "er");
  }
  ~FileSystemTest() override { files_.remove_all(directory_); }

  /// The text of the Error that `action` throws; empty when it throws none.
  template <class Action>
  static std::string refusal(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  FileSystem& files_ = posix_file_system();
  std::filesystem::path directory_ =
      std::filesystem::path(testing::TempDir()) /
      ("file_system_test." + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
};

TEST_F(FileSystemTest, WriteReadAppendTruncateRename) {
  const auto path = directory_ / "a";
  files_.write(path, "hello");
  files_.write(path, std::string("by\0e", 4));
  EXPECT_EQ(files_.read(path), std::string("by\0e", 4)) << "replaced, zeros included";
  {
    const auto append = files_.open_append(path);
    append->append("123");
    append->append("");
    append->append("456");
    append->sync();
  }
  EXPECT_EQ(files_.read(path), std::string("by\0e123456", 10));
  files_.truncate(path, 2);
  EXPECT_EQ(files_.read(path), "by");
  files_.write(directory_ / "b", "old");
  files_.rename(path, directory_ / "b");
  EXPECT_FALSE(files_.exists(path));
  EXPECT_EQ(files_.read(directory_ / "b"), "by");
  files_.rename(directory_ / "deep", directory_ / "moved");
  EXPECT_EQ(files_.list(directory_), (std::vector<std::string>{"b", "moved"}));
  files_.sync(directory_ / "b");
  files_.sync(directory_);
}

TEST_F(FileSystemTest, LargeFilesComeBackWhole) {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += static_cast<char>(i * 7 % 251);
  files_.write(directory_ / "large", text);
  EXPECT_EQ(files_.read(directory_ / "large"), text);
}

TEST_F(FileSystemTest, FailuresNameThePathAndTheReason) {
  const auto missing = directory_ / "missing";
  for (const std::string& text : {refusal([&] { files_.read(missing); }), refusal([&] { files_.truncate(missing, 0); }),
                                  refusal([&] { files_.rename(missing, directory_ / "x"); }),
                                  refusal([&] { files_.sync(missing); }), refusal([&] { files_.list(missing); })}) {
    EXPECT_NE(text.find(missing.string()), std::string::npos) << text;
    EXPECT_NE(text.find("No such file"), std::string::npos) << text;
  }
  EXPECT_NE(refusal([&] { files_.open_append(directory_ / "no" / "where"); }), "");
  EXPECT_NE(refusal([&] { files_.write(directory_, "a directory"); }), "");
  files_.write(directory_ / "file", "");
  EXPECT_NE(refusal([&] { files_.create_directories(directory_ / "file" / "below"); }), "");
  EXPECT_NO_THROW(files_.remove_all(missing)) << "nothing to remove is no error";
}

TEST_F(FileSystemTest, AFullDiskIsAnErrorWithAHint) {
  if (!files_.exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const std::string text = refusal([&] { files_.open_append("/dev/full")->append("x"); });
  EXPECT_NE(text.find("/dev/full"), std::string::npos) << text;
  EXPECT_NE(text.find("HINT"), std::string::npos) << text;
}

}  // namespace
}  // namespace baekji
