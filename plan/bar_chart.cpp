#include "plan/bar_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/axis.h"
#include "core/error.h"
#include "core/xml.h"

namespace baekji {
namespace {

constexpr double kLabels = 130;  // before the bars
constexpr double kPlot = 640;
constexpr double kTotals = 110;  // behind them
constexpr double kTitle = 40;
constexpr double kBar = 22;
constexpr double kBarGap = 6;
constexpr double kAxis = 46;
constexpr double kLegendLine = 20;
constexpr double kLetter = 6.6;  // mean width at 12 pixels

// Okabe and Ito (2008, "Color universal design"), then the same lightened: tellable apart with any colour vision.
constexpr std::array<const char*, 14> kColours{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9",
                                               "#d55e00", "#f0e442", "#7fb8d8", "#f2cf7f", "#7fceb9",
                                               "#e5bcd3", "#aad9f4", "#eaae7f", "#999999"};

std::string short_number(double value) {
  return fmt::format("{:.4g}", value);
}

struct Scale {
  double largest = 1;
  double x(double value) const { return kLabels + value / largest * kPlot; }
};

double total_of(const Bar& bar) {
  double total = 0;
  for (const BarPart& part : bar.parts) total += part.value;
  return total;
}

std::vector<std::string> part_names(std::span<const Bar> bars) {
  std::vector<std::string> names;
  for (const Bar& bar : bars) {
    for (const BarPart& part : bar.parts) {
      if (part.value > 0 && std::find(names.begin(), names.end(), part.name) == names.end()) names.push_back(part.name);
    }
  }
  return names;
}

const char* colour_of(const std::vector<std::string>& names, const std::string& name) {
  const auto index = static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  return kColours[index % kColours.size()];
}

std::string draw_bar(const Bar& bar, double y, const Scale& scale, const std::vector<std::string>& names,
                     const std::string& unit) {
  std::string svg = fmt::format("<text x='{}' y='{}' text-anchor='end'>{}</text>\n", kLabels - 8, y + kBar * 0.7,
                                xml_escaped(bar.label));
  double sum = 0;
  for (const BarPart& part : bar.parts) {
    if (part.value > 0) {
      svg +=
          fmt::format("<rect x='{:.2f}' y='{}' width='{:.2f}' height='{}' fill='{}'><title>{}: {} {}</title></rect>\n",
                      scale.x(sum), y, scale.x(sum + part.value) - scale.x(sum), kBar, colour_of(names, part.name),
                      xml_escaped(part.name), short_number(part.value), xml_escaped(unit));
    }
    sum += part.value;
  }
  return svg + fmt::format("<text x='{:.2f}' y='{}'>{} {}</text>\n", scale.x(sum) + 6, y + kBar * 0.7,
                           short_number(sum), xml_escaped(unit));
}

// Entries from left to right, in as many lines as they need; returns the picture and the height.
std::pair<std::string, double> draw_legend(const std::vector<std::string>& names, double top) {
  std::string svg;
  double x = kLabels, y = top;
  for (const std::string& name : names) {
    const double width = 24 + kLetter * static_cast<double>(name.size()) + 12;
    if (x > kLabels && x + width > kLabels + kPlot + kTotals) {
      x = kLabels;
      y += kLegendLine;
    }
    svg += fmt::format("<rect x='{:.1f}' y='{}' width='14' height='14' fill='{}'/><text x='{:.1f}' y='{}'>{}</text>\n",
                       x, y, colour_of(names, name), x + 20, y + 12, xml_escaped(name));
    x += width;
  }
  return {svg, y + kLegendLine - top};
}

std::string draw_axis(double bottom, const Scale& scale, const std::string& unit) {
  std::string svg;
  const double step = axis_step(scale.largest / 6);
  for (double i = 0; i * step <= scale.largest * (1 + 1e-9); i += 1) {
    svg +=
        fmt::format("<path d='M{:.2f} {}v5' stroke='#444'/><text x='{:.2f}' y='{}' text-anchor='middle'>{:g}</text>\n",
                    scale.x(i * step), bottom, scale.x(i * step), bottom + 18, i * step);
  }
  return svg + fmt::format("<path d='M{} {}h{}' stroke='#444'/><text x='{}' y='{}' text-anchor='middle'>{}</text>\n",
                           kLabels, bottom, kPlot, kLabels + kPlot / 2, bottom + 36, xml_escaped(unit));
}

void require_drawable(std::span<const Bar> bars) {
  if (bars.empty()) throw Error("a chart needs bars").values("one or more", "none");
  for (const Bar& bar : bars) {
    for (const BarPart& part : bar.parts) {
      if (std::isfinite(part.value) && part.value >= 0) continue;
      throw Error("a bar's part cannot be drawn")
          .values("a finite value of 0 or more", fmt::format("{}", part.value))
          .at(bar.label + ", " + part.name);
    }
  }
}

}  // namespace

std::string bar_chart_svg(std::span<const Bar> bars, const BarChartOptions& options) {
  require_drawable(bars);
  Scale scale{.largest = options.limit};
  for (const Bar& bar : bars) scale.largest = std::max(scale.largest, total_of(bar));
  if (scale.largest <= 0) scale.largest = 1;
  const std::vector<std::string> names = part_names(bars);
  const auto count = static_cast<double>(bars.size());
  const double bottom = kTitle + (options.limit > 0 ? 16 : 0) + count * (kBar + kBarGap);
  const auto [legend, legend_height] = draw_legend(names, bottom + kAxis);
  const double width = kLabels + kPlot + kTotals;
  const double height = bottom + kAxis + legend_height + 8;
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='{1}' viewBox='0 0 {0} {1}' font-family='sans-serif' "
      "font-size='12'>\n<rect width='{0}' height='{1}' fill='#fff'/>\n<text x='{2}' y='22' font-size='15'>{3}</text>\n",
      width, height, kLabels, xml_escaped(options.title));
  double y = bottom - count * (kBar + kBarGap);
  for (const Bar& bar : bars) {
    svg += draw_bar(bar, y, scale, names, options.unit);
    y += kBar + kBarGap;
  }
  svg += draw_axis(bottom, scale, options.unit) + legend;
  if (options.limit > 0) {
    const double x = scale.x(options.limit);
    svg += fmt::format(
        "<path d='M{:.2f} {}V{}' stroke='#b00020' stroke-width='2' stroke-dasharray='5 3'/><text x='{:.2f}' y='{}' "
        "text-anchor='end' fill='#b00020'>{}</text>\n",
        x, kTitle, bottom, x - 5, kTitle + 10, xml_escaped(options.limit_label));
  }
  return svg + "</svg>\n";
}

}  // namespace baekji
