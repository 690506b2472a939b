#pragma once
// The loss curve of a run as one SVG file: readable in any browser, nothing to install.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/file_system.h"

namespace baekji {

struct LossPoint {
  std::int64_t step = 0;
  double loss = 0;  ///< nats per token; points that are not finite are not drawn
};

/// What is drawn. Points of each line in the order of their steps.
struct LossCurve {
  std::string title;
  std::vector<LossPoint> training;
  std::map<std::string, std::vector<LossPoint>> validation;  ///< by source
  std::map<std::string, double> unigram_entropy;             ///< by source; a dashed line where given
};

/// The points of RUN/metrics.jsonl and RUN/validation.jsonl. Missing files give empty lines.
LossCurve read_loss_curve(FileSystem& files, const std::filesystem::path& run_folder);

/// The picture. Training is drawn as the mean of up to about 700 groups of neighbouring steps over a band of their
/// extremes; with fewer steps than that it is every step.
std::string loss_curve_svg(const LossCurve& whole);

/// About `wanted` round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high], none outside it.
std::vector<double> axis_ticks(double low, double high, int wanted);

}  // namespace baekji
