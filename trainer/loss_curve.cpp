#include "trainer/loss_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/axis.h"
#include "core/error.h"
#include "core/xml.h"
#include "trainer/metrics.h"

namespace baekji {
namespace {

constexpr double kWidth = 900;
constexpr double kHeight = 520;
constexpr double kLeft = 70;
constexpr double kRight = 870;
constexpr double kTop = 50;
constexpr double kBottom = 460;
constexpr std::size_t kMostGroups = 700;
constexpr const char* kTrainingColour = "#4878a8";
// One colour per source; further sources begin again.
constexpr std::array<const char*, 6> kSourceColours{"#d1495b", "#2e8b57", "#e08a1e", "#7a4fa3", "#008b9a", "#8a6d3b"};

// Maps data to the page.
struct Axes {
  double first_step = 0, last_step = 1;
  double low = 0, high = 1;
  double x(double step) const { return kLeft + (step - first_step) / (last_step - first_step) * (kRight - kLeft); }
  double y(double loss) const { return kBottom - (loss - low) / (high - low) * (kBottom - kTop); }
};

struct Group {
  double step = 0, mean = 0, least = 0, most = 0;
};

std::vector<LossPoint> finite_points(const std::vector<LossPoint>& points) {
  std::vector<LossPoint> kept;
  std::copy_if(points.begin(), points.end(), std::back_inserter(kept),
               [](const LossPoint& p) { return std::isfinite(p.loss); });
  return kept;
}

std::vector<Group> group(const std::vector<LossPoint>& points) {
  const std::size_t size = (points.size() + kMostGroups - 1) / kMostGroups;
  std::vector<Group> groups;
  for (std::size_t begin = 0; begin < points.size(); begin += size) {
    const std::size_t end = std::min(begin + size, points.size());
    Group g{.least = points[begin].loss, .most = points[begin].loss};
    for (std::size_t i = begin; i < end; ++i) {
      g.step += static_cast<double>(points[i].step);
      g.mean += points[i].loss;
      g.least = std::min(g.least, points[i].loss);
      g.most = std::max(g.most, points[i].loss);
    }
    g.step /= static_cast<double>(end - begin);
    g.mean /= static_cast<double>(end - begin);
    groups.push_back(g);
  }
  return groups;
}

Axes fit(const LossCurve& curve) {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  double last = 1;
  const auto see = [&](double step, double loss) {
    low = std::min(low, loss);
    high = std::max(high, loss);
    last = std::max(last, step);
  };
  for (const LossPoint& p : curve.training) see(static_cast<double>(p.step), p.loss);
  for (const auto& [source, points] : curve.validation) {
    for (const LossPoint& p : points) see(static_cast<double>(p.step), p.loss);
  }
  for (const auto& [source, entropy] : curve.unigram_entropy) see(0, entropy);
  if (low > high) return {.last_step = last};  // nothing to draw
  const double margin = std::max(0.03 * (high - low), 1e-3);
  return {.last_step = last, .low = low - margin, .high = high + margin};
}

std::string tick_label(double value) {
  if (value >= 1e6 && std::fmod(value, 1e5) == 0) return fmt::format("{:g}M", value / 1e6);
  if (value >= 1e4 && std::fmod(value, 1e2) == 0) return fmt::format("{:g}k", value / 1e3);
  return fmt::format("{:g}", value);
}

std::string draw_axes(const Axes& a) {
  std::string svg;
  for (const double step : axis_ticks(a.first_step, a.last_step, 8)) {
    svg +=
        fmt::format("<line x1='{0:.1f}' y1='{1}' x2='{0:.1f}' y2='{2}' stroke='#e6e6e6'/>\n", a.x(step), kTop, kBottom);
    svg += fmt::format("<text x='{:.1f}' y='{}' text-anchor='middle'>{}</text>\n", a.x(step), kBottom + 18,
                       tick_label(step));
  }
  for (const double loss : axis_ticks(a.low, a.high, 7)) {
    svg +=
        fmt::format("<line x1='{1}' y1='{0:.1f}' x2='{2}' y2='{0:.1f}' stroke='#e6e6e6'/>\n", a.y(loss), kLeft, kRight);
    svg += fmt::format("<text x='{}' y='{:.1f}' text-anchor='end'>{}</text>\n", kLeft - 8, a.y(loss) + 4,
                       tick_label(loss));
  }
  svg += fmt::format("<path d='M{0} {1}V{2}H{3}' fill='none' stroke='#444'/>\n", kLeft, kTop, kBottom, kRight);
  svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>step</text>\n", (kLeft + kRight) / 2, kBottom + 40);
  svg +=
      fmt::format("<text transform='translate(22 {}) rotate(-90)' text-anchor='middle'>loss (nats per token)</text>\n",
                  (kTop + kBottom) / 2);
  return svg;
}

std::string draw_training(const Axes& a, const std::vector<LossPoint>& points) {
  if (points.empty()) return "";
  const std::vector<Group> groups = group(points);
  std::string band;
  std::string line;
  for (const Group& g : groups) {
    band += fmt::format("{:.1f},{:.1f} ", a.x(g.step), a.y(g.most));
    line += fmt::format("{:.1f},{:.1f} ", a.x(g.step), a.y(g.mean));
  }
  std::string svg;
  if (groups.size() < points.size()) {
    for (auto g = groups.rbegin(); g != groups.rend(); ++g)
      band += fmt::format("{:.1f},{:.1f} ", a.x(g->step), a.y(g->least));
    svg += fmt::format("<polygon points='{}' fill='{}' fill-opacity='0.2'/>\n", band, kTrainingColour);
  }
  return svg +
         fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='1.2'/>\n", line, kTrainingColour);
}

std::string draw_validation(const Axes& a, const std::vector<LossPoint>& points, const char* colour) {
  std::string line;
  std::string marks;
  for (const LossPoint& p : points) {
    const double x = a.x(static_cast<double>(p.step));
    line += fmt::format("{:.1f},{:.1f} ", x, a.y(p.loss));
    marks += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3' fill='{}'/>\n", x, a.y(p.loss), colour);
  }
  return fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='2'/>\n", line, colour) + marks;
}

std::string draw_entropy(const Axes& a, double entropy, const char* colour) {
  return fmt::format("<line x1='{0}' y1='{2:.1f}' x2='{1}' y2='{2:.1f}' stroke='{3}' stroke-dasharray='6 5'/>\n", kLeft,
                     kRight, a.y(entropy), colour);
}

struct LegendEntry {
  std::string text;
  const char* colour = kTrainingColour;
  bool dashed = false;
};

std::string draw_legend(const std::vector<LegendEntry>& entries) {
  std::size_t longest = 0;
  for (const LegendEntry& e : entries) longest = std::max(longest, e.text.size());
  const double width = 48 + 7.0 * static_cast<double>(longest);
  const double left = kRight - width - 8;
  std::string svg = fmt::format(
      "<rect x='{:.0f}' y='{}' width='{:.0f}' height='{}' fill='#fff' fill-opacity='0.85' stroke='#ccc'/>\n", left,
      kTop + 8, width, 10 + 18 * entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const double y = kTop + 22 + 18 * static_cast<double>(i);
    svg +=
        fmt::format("<line x1='{:.0f}' y1='{:.0f}' x2='{:.0f}' y2='{:.0f}' stroke='{}' stroke-width='2'{}/>\n",
                    left + 8, y, left + 34, y, entries[i].colour, entries[i].dashed ? " stroke-dasharray='6 5'" : "");
    svg += fmt::format("<text x='{:.0f}' y='{:.0f}'>{}</text>\n", left + 40, y + 4, xml_escaped(entries[i].text));
  }
  return svg;
}

}  // namespace

LossCurve read_loss_curve(FileSystem& files, const std::filesystem::path& run_folder) {
  LossCurve curve;
  for (const StepMetrics& m : read_metrics(files, run_folder)) curve.training.push_back({m.step, m.loss});
  const std::filesystem::path path = run_folder / kValidationFile;
  read_json_lines(files, path, [&](const nlohmann::json& line) {
    try {
      for (const auto& [source, loss] : line.at("validation").items()) {
        if (!loss.is_null())
          curve.validation[source].push_back({line.at("step").get<std::int64_t>(), loss.get<double>()});
      }
    } catch (const nlohmann::json::exception& problem) {
      throw Error("a line of the validation losses cannot be read")
          .values("{\"step\", \"validation\": {source: loss}}", line.dump())
          .at(fmt::format("{}: {}", path.string(), problem.what()));
    }
  });
  return curve;
}

std::vector<double> axis_ticks(double low, double high, int wanted) {
  const double raw = (high - low) / std::max(wanted, 1);
  if (!(raw > 0) || !std::isfinite(raw)) return {};
  const double step = axis_step(raw);
  std::vector<double> ticks;
  // Multiples of the step, so that no rounding adds up; the slack keeps a tick that sits on the border.
  const double slack = 1e-9 * step;
  for (double i = std::ceil((low - slack) / step); i * step <= high + slack; i += 1) ticks.push_back(i * step + 0.0);
  return ticks;
}

std::string loss_curve_svg(const LossCurve& whole) {
  LossCurve curve = whole;
  curve.training = finite_points(whole.training);
  for (auto& [source, points] : curve.validation) points = finite_points(points);
  std::erase_if(curve.unigram_entropy, [](const auto& entry) { return !std::isfinite(entry.second); });

  const Axes axes = fit(curve);
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='{1}' viewBox='0 0 {0} {1}' "
      "font-family='sans-serif' font-size='12' fill='#222'>\n<rect width='{0}' height='{1}' fill='#fff'/>\n",
      kWidth, kHeight);
  svg += fmt::format("<text x='{}' y='30' font-size='16'>{}</text>\n", kLeft, xml_escaped(curve.title));
  svg += draw_axes(axes) + draw_training(axes, curve.training);

  std::vector<LegendEntry> legend;
  if (!curve.training.empty()) legend.push_back({fmt::format("training ({:.3f})", curve.training.back().loss)});
  std::map<std::string, const char*> colours;
  const auto colour_of = [&](const std::string& source) {
    return colours.try_emplace(source, kSourceColours[colours.size() % kSourceColours.size()]).first->second;
  };
  for (const auto& [source, points] : curve.validation) {
    if (points.empty()) continue;
    svg += draw_validation(axes, points, colour_of(source));
    legend.push_back({fmt::format("validation {} ({:.3f})", source, points.back().loss), colour_of(source)});
  }
  for (const auto& [source, entropy] : curve.unigram_entropy) {
    svg += draw_entropy(axes, entropy, colour_of(source));
    legend.push_back({fmt::format("unigram entropy {} ({:.3f})", source, entropy), colour_of(source), true});
  }
  return svg + draw_legend(legend) + "</svg>\n";
}

}  // namespace baekji
