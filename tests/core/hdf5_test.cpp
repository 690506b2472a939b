#include "core/hdf5.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "core/file_system.h"
#include "core/hdf5_writer.h"

namespace baekji {
namespace {

class Hdf5Test : public ::testing::Test {
 protected:
  ~Hdf5Test() override { posix_file_system().remove_all(path_); }

  void write_example() const {
    Hdf5Writer file(path_);
    const std::uint64_t dims[] = {1000};
    const Hdf5Handle dataset = file.create_dataset("/layers/0/gain", H5T_IEEE_F32LE, dims);
    std::vector<float> values(1000);
    std::iota(values.begin(), values.end(), 0.0F);
    hdf5_write_range(dataset, H5T_NATIVE_FLOAT, 0, 1000, values.data(), "example");
    file.write_attribute("/", "digest", std::string("abc"));
    file.write_attribute("/", "empty", std::string());
    file.write_attribute("/layers/0/gain", "slices", std::int64_t{-7});
    file.close();
  }
  std::string refusal() const {
    try {
      const Hdf5File file = Hdf5File::open_read_only(path_);
      const Hdf5Handle dataset = file.open_dataset("/layers/0/gain");
      std::vector<float> values(1000);
      hdf5_read_range(dataset, H5T_NATIVE_FLOAT, 0, 1000, values.data(), path_.string());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  std::filesystem::path path_ =
      std::filesystem::path(testing::TempDir()) /
      ("hdf5_test." + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + ".h5");
};

TEST_F(Hdf5Test, RangesAndAttributesComeBack) {
  write_example();
  const Hdf5File file = Hdf5File::open_read_only(path_);
  EXPECT_TRUE(file.has("/layers/0/gain"));
  EXPECT_FALSE(file.has("/layers/1/gain"));
  EXPECT_EQ(file.dims("/layers/0/gain"), std::vector<std::uint64_t>{1000});
  float values[3] = {};
  hdf5_read_range(file.open_dataset("/layers/0/gain"), H5T_NATIVE_FLOAT, 500, 3, values, "test");
  EXPECT_EQ(values[2], 502.0F);
  EXPECT_EQ(file.read_text_attribute("/", "digest"), "abc");
  EXPECT_EQ(file.read_text_attribute("/", "empty"), "");
  EXPECT_EQ(file.read_integer_attribute("/layers/0/gain", "slices"), -7);
  EXPECT_THROW((void)file.read_integer_attribute("/", "digest"), Error);
  EXPECT_THROW((void)file.read_text_attribute("/", "nothing"), Error);
  EXPECT_THROW((void)file.open_dataset("/nothing"), Error);
  EXPECT_THROW(hdf5_read_range(file.open_dataset("/layers/0/gain"), H5T_NATIVE_FLOAT, 999, 3, values, "test"), Error);
}

TEST_F(Hdf5Test, MissingForeignEmptyAndTruncatedFilesAreNamed) {
  posix_file_system().remove_all(path_);
  EXPECT_NE(refusal().find(path_.string()), std::string::npos) << refusal();
  for (const std::string& bytes : {std::string(), std::string("{\"json\": true}"), std::string(5000, 'x')}) {
    posix_file_system().write(path_, bytes);
    EXPECT_NE(refusal().find("foreign, truncated or damaged"), std::string::npos) << refusal();
    EXPECT_NE(refusal().find(path_.string()), std::string::npos) << refusal();
  }
  write_example();
  EXPECT_EQ(refusal(), "");
  const std::int64_t whole = static_cast<std::int64_t>(std::filesystem::file_size(path_));
  for (const std::int64_t kept : {whole - 1, whole / 2, std::int64_t{600}, std::int64_t{8}}) {
    write_example();
    posix_file_system().truncate(path_, kept);
    EXPECT_NE(refusal().find(path_.string()), std::string::npos) << kept << " of " << whole << " bytes: " << refusal();
  }
}

TEST_F(Hdf5Test, AFileCannotBeCreatedNowhere) {
  EXPECT_THROW(Hdf5Writer(path_ / "below" / "a.h5"), Error);
}

}  // namespace
}  // namespace baekji
