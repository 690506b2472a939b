// Training with numerics.precision = "fp8" beside bf16.

#include <cmath>

#include "core/file_system.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/metrics.h"

namespace baekji::tiny {
namespace {

std::vector<std::string> with_precision(const char* precision) {
  return {"model.hidden=64", "model.ffn=128", "run.steps=10", std::string("numerics.precision=") + precision};
}

std::vector<double> losses_of(const char* precision) {
  const fs::path run = fresh_folder(precision);
  train_alone(load(run, with_precision(precision)));
  std::vector<double> losses;
  for (const StepMetrics& step : read_metrics(posix_file_system(), run)) losses.push_back(step.loss);
  return losses;
}

TEST(Float8, LossesOfTenStepsStayNearThoseOfBf16) {
  constexpr double kTolerance = 0.01;
  const std::vector<double> narrow = losses_of("fp8");
  const std::vector<double> wide = losses_of("bf16");
  ASSERT_EQ(narrow.size(), 10U);
  ASSERT_EQ(wide.size(), 10U);
  EXPECT_LT(narrow.back(), narrow.front() - 1) << "it learns";
  double worst = 0;
  for (std::size_t i = 0; i < wide.size(); ++i) {
    const double distance = std::fabs(narrow[i] / wide[i] - 1);
    EXPECT_LE(distance, kTolerance) << "step " << i + 1;
    worst = std::max(worst, distance);
  }
  std::printf("fp8 losses over 10 steps (%.3f to %.3f) within %.2f%% of bf16's\n", narrow.front(), narrow.back(),
              100 * worst);
}

}  // namespace
}  // namespace baekji::tiny
