// The loss curve: ticks, points in their places, tags balanced, hostile names and missing data.

#include "trainer/loss_curve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/metrics.h"

namespace baekji {
namespace {

// Checks that the text is well formed XML of the kind that we write: every tag closed in order, nothing unescaped.
std::string first_problem(const std::string& svg) {
  std::vector<std::string> open;
  for (std::size_t at = svg.find('<'); at != std::string::npos; at = svg.find('<', at)) {
    const std::size_t end = svg.find('>', at);
    if (end == std::string::npos) return "a tag does not end";
    const std::string tag = svg.substr(at + 1, end - at - 1);
    if (tag.find('<') != std::string::npos) return "bracket inside a tag: " + tag;
    if (std::count(tag.begin(), tag.end(), '\'') % 2 != 0) return "open quote: " + tag;
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag.front() == '/') {
      if (open.empty() || "/" + open.back() != tag) return "closes nothing: " + tag;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    const std::size_t next = svg.find('<', end);
    if (svg.find('>', end + 1) < next) return "bare bracket after " + tag;
    at = end;
  }
  if (!open.empty()) return "not closed: " + open.back();
  for (std::size_t at = svg.find('&'); at != std::string::npos; at = svg.find('&', at + 1)) {
    const std::string entity = svg.substr(at, svg.find(';', at) + 1 - at);
    if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;") return "bare ampersand";
  }
  return "";
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(AxisTicksTest, RoundNumbersInsideTheRange) {
  EXPECT_EQ(axis_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(axis_ticks(2.9, 8.4, 6), (std::vector<double>{3, 4, 5, 6, 7, 8}));
  EXPECT_TRUE(axis_ticks(3, 3, 5).empty());
  EXPECT_TRUE(axis_ticks(0, std::numeric_limits<double>::infinity(), 5).empty());
  for (const double high : {1e-3, 0.7, 37.0, 12345.0, 9e8}) {
    const std::vector<double> ticks = axis_ticks(0, high, 8);
    EXPECT_GE(ticks.size(), 4U) << high;
    EXPECT_LE(ticks.size(), 10U) << high;
    EXPECT_LE(ticks.back(), high * (1 + 1e-9));
  }
}

TEST(LossCurveTest, DrawsEveryLine) {
  LossCurve curve{.title = "demo"};
  for (std::int64_t step = 1; step <= 600; ++step) {
    curve.training.push_back({step, 3 + 5 * std::exp(-static_cast<double>(step) / 100)});
  }
  curve.validation = {{"english", {{200, 4.5}, {400, 4.0}, {600, 3.5}}}, {"korean", {{600, 4.25}}}};
  curve.unigram_entropy = {{"english", 6.5}, {"korean", 6.75}};
  const std::string svg = loss_curve_svg(curve);
  EXPECT_EQ(first_problem(svg), "");
  EXPECT_EQ(count(svg, "<circle"), 4U);
  EXPECT_EQ(count(svg, "<polyline"), 3U);
  EXPECT_EQ(count(svg, "<polygon"), 0U) << "600 steps are drawn one by one";
  EXPECT_NE(svg.find("validation english (3.500)"), std::string::npos);
  EXPECT_NE(svg.find("unigram entropy korean (6.750)"), std::string::npos);
}

TEST(LossCurveTest, LongRunsBecomeABand) {
  LossCurve curve;
  for (std::int64_t step = 1; step <= 100000; ++step)
    curve.training.push_back({step, 3.0 + static_cast<double>(step % 7)});
  const std::string svg = loss_curve_svg(curve);
  EXPECT_EQ(first_problem(svg), "");
  EXPECT_EQ(count(svg, "<polygon"), 1U);
  EXPECT_LT(svg.size(), 60000U);
}

TEST(LossCurveTest, SurvivesNothingAndNonsense) {
  EXPECT_EQ(first_problem(loss_curve_svg({})), "");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = loss_curve_svg({.title = "a<b & \"c\"",
                                          .training = {{1, nan}, {2, 4.0}},
                                          .validation = {{"<x>", {{1, nan}}}, {"y&z", {{2, 4.0}}}},
                                          .unigram_entropy = {{"y&z", nan}}});
  EXPECT_EQ(first_problem(svg), "");
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(svg.find("a&lt;b &amp; &quot;c&quot;"), std::string::npos);
}

TEST(LossCurveTest, ReadsWhatTheWriterWrote) {
  FileSystem& files = posix_file_system();
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "loss_curve_run";
  files.remove_all(folder);
  EXPECT_TRUE(read_loss_curve(files, folder).training.empty());
  MetricsWriter writer({.files = files, .folder = folder});
  writer.step({.step = 1, .loss = 8.5});
  writer.step({.step = 2, .loss = std::numeric_limits<double>::quiet_NaN()});
  writer.validation(2, {{"english", 7.5}, {"korean", std::numeric_limits<double>::infinity()}});
  const LossCurve curve = read_loss_curve(files, folder);
  ASSERT_EQ(curve.training.size(), 2U);
  EXPECT_EQ(curve.training[0].loss, 8.5);
  ASSERT_EQ(curve.validation.at("english").size(), 1U);
  EXPECT_EQ(curve.validation.at("english")[0].step, 2);
  EXPECT_FALSE(curve.validation.contains("korean"));
}

}  // namespace
}  // namespace baekji
