#pragma once
// Stacked horizontal bars as one SVG file: memory of each rank by part, the time of a step by part.

#include <span>
#include <string>
#include <vector>

namespace baekji {

struct BarPart {
  std::string name;
  double value = 0;
};
struct Bar {
  std::string label;
  std::vector<BarPart> parts;
};
struct BarChartOptions {
  std::string title;
  std::string unit;         ///< "GiB", "s"
  double limit = 0;         ///< where a line is drawn; 0: none
  std::string limit_label;  ///< beside it
};

/// Parts of one name have one colour in all bars. The same values give the same bytes. Throws without bars, or when a
/// value is negative or not finite.
std::string bar_chart_svg(std::span<const Bar> bars, const BarChartOptions& options);

}  // namespace baekji
