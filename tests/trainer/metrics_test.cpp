// MetricsWriter on real files: exact keys, null for what is not finite, resume, torn and foreign lines.

#include "trainer/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace baekji {
namespace {

using nlohmann::json;

class MetricsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("metrics_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    files_.remove_all(folder_);
  }
  MetricsWriter writer(std::int64_t resumed_step) {
    return MetricsWriter({.files = files_, .folder = folder_, .resumed_step = resumed_step});
  }
  std::vector<std::int64_t> steps() {
    std::vector<std::int64_t> all;
    for (const StepMetrics& m : read_metrics(files_, folder_)) all.push_back(m.step);
    return all;
  }

  FileSystem& files_ = posix_file_system();
  std::filesystem::path folder_;
};

TEST_F(MetricsTest, LineHasExactlyTheTenKeysInOrderAndReadsBackExactly) {
  const StepMetrics in{.step = 7,
                       .tokens = 57344,
                       .loss = 5.0 / 3,
                       .grad_norm = 0.1,
                       .learning_rate = 3e-4,
                       .step_s = 0.25,
                       .tokens_per_s = 32768.5,
                       .mfu = 0.61,
                       .memory_bytes = 1 << 30,
                       .save_stall_ms = 12.5};
  writer(0).step(in);
  const std::string text = files_.read(folder_ / kMetricsFile);
  std::string keys;
  const auto line = nlohmann::ordered_json::parse(text);
  for (const auto& [key, value] : line.items()) keys += key + " ";
  EXPECT_EQ(keys, "step tokens loss grad_norm learning_rate step_s tokens_per_s mfu memory_bytes save_stall_ms ");
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const StepMetrics out = read_metrics(files_, folder_).at(0);
  EXPECT_EQ(out.loss, in.loss);
  EXPECT_EQ(out.learning_rate, in.learning_rate);
  EXPECT_EQ(out.memory_bytes, in.memory_bytes);
  EXPECT_EQ(out.save_stall_ms, in.save_stall_ms);
}

TEST_F(MetricsTest, LinesFromBeforeStallsWereMeasuredAreRead) {
  writer(0).step({.step = 1, .save_stall_ms = 3});
  std::string text = files_.read(folder_ / kMetricsFile);
  text.replace(text.find(",\"save_stall_ms\":3.0"), 20, "");
  files_.write(folder_ / kMetricsFile, text);
  EXPECT_EQ(read_metrics(files_, folder_).at(0).save_stall_ms, 0);
}

TEST_F(MetricsTest, NonFiniteNumbersAreNull) {
  writer(0).step({.step = 1,
                  .loss = std::numeric_limits<double>::quiet_NaN(),
                  .grad_norm = std::numeric_limits<double>::infinity()});
  const json line = json::parse(files_.read(folder_ / kMetricsFile));
  EXPECT_TRUE(line.at("loss").is_null());
  EXPECT_TRUE(line.at("grad_norm").is_null());
  EXPECT_TRUE(std::isnan(read_metrics(files_, folder_).at(0).loss));
}

TEST_F(MetricsTest, ResumeDropsLaterAndTornLinesInAllFiles) {
  {
    MetricsWriter w = writer(0);
    for (std::int64_t step = 1; step <= 6; ++step) w.step({.step = step});
    w.validation(3, {{"english", 5.5}});
    w.validation(6, {{"english", 5.0}});
    w.norms(5, {{"head", 1.0}}, {{"head", 2.0}});
  }
  files_.open_append(folder_ / kMetricsFile)->append("{\"step\":7,\"tok");  // killed in the middle of a write
  MetricsWriter w = writer(4);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{1, 2, 3, 4}));
  w.step({.step = 5});
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(json::parse(files_.read(folder_ / kValidationFile)).at("step"), 3);
  EXPECT_EQ(files_.read(folder_ / kNormsFile), "");
  EXPECT_EQ(files_.list(folder_), (std::vector<std::string>{kMetricsFile, kNormsFile, kValidationFile}));
}

TEST_F(MetricsTest, ResumeAtTheLastStepLeavesTheFileAlone) {
  {
    MetricsWriter w = writer(0);
    w.step({.step = 1});
    w.step({.step = 2});
  }
  const auto before = std::filesystem::last_write_time(folder_ / kMetricsFile);
  writer(2);
  EXPECT_EQ(std::filesystem::last_write_time(folder_ / kMetricsFile), before);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{1, 2}));
}

TEST_F(MetricsTest, ForeignLinesAreNamed) {
  writer(0).step({.step = 1});
  files_.open_append(folder_ / kMetricsFile)->append("not json\n");
  try {
    read_metrics(files_, folder_);
    FAIL() << "a foreign line was accepted";
  } catch (const Error& error) {
    EXPECT_NE(error.where().find("metrics.jsonl:2"), std::string::npos) << error.what();
  }
  files_.write(folder_ / kMetricsFile, "{\"step\":1}\n");
  EXPECT_THROW(read_metrics(files_, folder_), Error);
}

TEST_F(MetricsTest, MissingFilesAreEmpty) {
  EXPECT_TRUE(read_metrics(files_, folder_).empty());
}

}  // namespace
}  // namespace baekji
