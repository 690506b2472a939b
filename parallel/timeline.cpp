#include "parallel/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "core/axis.h"
#include "core/error.h"
#include "core/xml.h"

namespace baekji {
namespace {

constexpr double kLeft = 64;         // of the rows; rank names stand before it
constexpr double kRightMargin = 84;  // peak live stands in it
constexpr double kTop = 76;
constexpr double kRowHeight = 24;
constexpr double kGap = 4;              // between rows
constexpr double kTransferGap = 14;     // with arrows in it
constexpr double kNarrowestPlot = 660;  // whatever is asked for: the texts need it
constexpr double kLeastPlot = 760;      // pixels across
constexpr double kUsualPlot = 1600;     // wider only to keep the shortest pass kLeastPass wide
constexpr double kMostPlot = 4000;      // even then
constexpr double kLeastPass = 4.5;
constexpr double kTransferPass = 14;  // arrows of passes narrower than this would touch
constexpr std::size_t kMostTransfers = 160;
constexpr double kDigit = 0.64;  // width of a digit, and kDigitHeight its height, as parts of the font's size
constexpr double kDigitHeight = 0.75;

struct Colour {
  int red = 0, green = 0, blue = 0;
  std::string text() const { return fmt::format("#{:02x}{:02x}{:02x}", red, green, blue); }
};

struct KindStyle {
  ActionKind kind = ActionKind::kForward;
  Colour colour;
  const char* name = "";
};
// From the palette of Okabe and Ito (2008, "Color universal design"), which people with any colour vision tell apart;
// they differ in lightness, too.
constexpr std::array<KindStyle, 4> kStyles{{
    {ActionKind::kForward, {0x00, 0x72, 0xb2}, "forward (F)"},
    {ActionKind::kBackward, {0xd5, 0x5e, 0x00}, "backward (B)"},
    {ActionKind::kBackwardInput, {0xe6, 0x9f, 0x00}, "input gradient (I)"},
    {ActionKind::kBackwardWeight, {0x00, 0x9e, 0x73}, "weight gradient (W)"},
}};
constexpr const char* kWaiting = "#ececec";

// Virtual stage 0 has the full colour, the last one the lightest.
Colour shade(ActionKind kind, std::int64_t virtual_stage, std::int64_t virtual_stages) {
  const auto style = std::find_if(kStyles.begin(), kStyles.end(), [&](const KindStyle& s) { return s.kind == kind; });
  const double whiteness =
      virtual_stages < 2 ? 0.0 : 0.65 * static_cast<double>(virtual_stage) / static_cast<double>(virtual_stages - 1);
  const auto mix = [&](int c) { return static_cast<int>(std::lround(c + whiteness * (255 - c))); };
  return {mix(style->colour.red), mix(style->colour.green), mix(style->colour.blue)};
}

// Black or white, whichever stands out more. The weights are those of perceived lightness; of the full colours only the
// blue is dark enough for white.
const char* ink_on(const Colour& c) {
  return 0.299 * c.red + 0.587 * c.green + 0.114 * c.blue > 100 ? "#000" : "#fff";
}

// Coordinates to a tenth of a pixel or finer, without noughts at the end: most of the file is coordinates.
std::string number(double value) {
  return fmt::format("{}", std::round(value * 20) / 20 + 0.0);
}

// Maps time and ranks to the page.
struct Page {
  double plot = 0;  // pixels across
  double per_time = 1;
  double gap = kGap;
  std::int64_t ranks = 0;
  double shortest = 0;  // pass, in pixels; 0 without passes
  double x(double time) const { return kLeft + time * per_time; }
  double y(std::int64_t rank) const { return kTop + static_cast<double>(rank) * (kRowHeight + gap); }
  double right() const { return kLeft + plot; }
  double bottom() const { return y(ranks) - gap; }
  double width() const { return right() + kRightMargin; }
};

std::size_t digits(std::int64_t value) {
  return fmt::formatted_size("{}", value);
}

std::string counted(std::int64_t count, const std::string& what) {
  const char* const ending = count == 1 ? "" : what.ends_with("ch") ? "es" : "s";
  return fmt::format("{} {}{}", count, what, ending);
}

double shortest_pass(const Simulation& simulation) {
  double shortest = 0;
  for (const auto& rank : simulation.ranks) {
    for (const TimedAction& a : rank) {
      const double length = a.end - a.begin;
      if (!is_transfer(a.action.kind) && length > 0 && (shortest == 0 || length < shortest)) shortest = length;
    }
  }
  return shortest;
}

Page fit(const Schedule& schedule, const Simulation& simulation, const TimelineOptions& options) {
  Page page{.ranks = schedule.ranks()};
  const double shortest = shortest_pass(simulation);
  if (options.width > 0) {
    page.plot = std::max(options.width - kLeft - kRightMargin, kNarrowestPlot);
  } else {
    const double passes = shortest > 0 ? simulation.length / shortest : 1;
    const double wanted = 8.0 * static_cast<double>(digits(schedule.micro_batches)) + 4;
    page.plot = std::clamp(passes * wanted, kLeastPlot, std::clamp(passes * kLeastPass, kUsualPlot, kMostPlot));
  }
  page.per_time = simulation.length > 0 ? page.plot / simulation.length : 1;
  page.shortest = shortest * page.per_time;
  return page;
}

// So that neighbours stay apart.
double box_width(double pass) {
  return pass - (pass >= 6 ? 1 : 0.15 * pass);
}

// What is drawn in one colour, over all ranks: one path of boxes, one group of numbers. A path is a third of the bytes
// that as many rectangles are.
struct Layer {
  std::string path;
  std::string numbers;
};
using Layers = std::map<std::pair<ActionKind, std::int64_t>, Layer>;  // by kind and virtual stage

// How the numbers are written: one size, and room for the longest one.
struct NumberStyle {
  double font = 0;
  double length = 0;  // pixels
};

NumberStyle number_style(const Page& page, const Schedule& schedule) {
  const double length = kDigit * static_cast<double>(digits(schedule.micro_batches - 1));
  const double font = box_width(page.shortest) > 11 * length + 1 ? 11 : 9;
  return {font, font * length};
}

// Upright where the longest number would fit, else turned where that fits, else none.
std::string box_number(std::int64_t micro_batch, double x, double y, double width, const NumberStyle& style) {
  const double middle = x + width / 2;
  const double centre = y + kRowHeight / 2;
  const double height = kDigitHeight * style.font;  // half of it lies between the line that digits stand on and centre
  if (width > style.length + 1) {
    return fmt::format("<text x='{}' y='{}'>{}</text>\n", number(middle), number(centre + height / 2), micro_batch);
  }
  if (width < height + 1 || kRowHeight < style.length + 2) return "";
  return fmt::format("<text transform='translate({} {})rotate(-90)'>{}</text>\n", number(middle + height / 2),
                     number(centre), micro_batch);
}

Layers draw_boxes(const Page& page, const Simulation& simulation, const NumberStyle& style) {
  Layers layers;
  for (std::int64_t rank = 0; rank < page.ranks; ++rank) {
    const double y = page.y(rank);
    for (const TimedAction& a : simulation.ranks[static_cast<std::size_t>(rank)]) {
      if (is_transfer(a.action.kind)) continue;
      const double width = box_width((a.end - a.begin) * page.per_time);
      Layer& layer = layers[{a.action.kind, a.action.virtual_stage}];
      layer.path += fmt::format("M{} {}h{}v{}h-{}z", number(page.x(a.begin)), number(y), number(width), kRowHeight,
                                number(width));
      layer.numbers += box_number(a.action.micro_batch, page.x(a.begin), y, width, style);
    }
  }
  return layers;
}

std::string draw_layers(const Layers& layers, const Schedule& schedule, double font) {
  std::string svg;
  for (const auto& [key, layer] : layers) {
    const Colour colour = shade(key.first, key.second, schedule.virtual_stages);
    svg += fmt::format("<path d='{}' fill='{}'/>\n", layer.path, colour.text());
    if (layer.numbers.empty()) continue;
    svg +=
        fmt::format("<g fill='{}' font-size='{}' text-anchor='middle'>\n{}</g>\n", ink_on(colour), font, layer.numbers);
  }
  return svg;
}

// A send and its receive: between the rows of two neighbours, from the one's time to the other's.
struct Transfer {
  std::int64_t from = 0, to = 0;
  double sent = 0, came = 0;
  bool backward = false;
};

// Empty if they could not be read: too many, or some that cross other rows.
std::vector<Transfer> legible_transfers(const Page& page, const Schedule& schedule, const Simulation& simulation) {
  if (page.shortest < kTransferPass) return {};
  std::map<std::tuple<bool, std::int64_t, std::int64_t>, Transfer> all;  // backward, stage that receives, micro-batch
  for (std::int64_t rank = 0; rank < schedule.ranks(); ++rank) {
    for (const TimedAction& a : simulation.ranks[static_cast<std::size_t>(rank)]) {
      const ActionKind kind = a.action.kind;
      if (!is_transfer(kind)) continue;
      const bool backward = is_backward_transfer(kind);
      const bool send = is_send(kind);
      Transfer& t = all[{backward, schedule.receiving_stage(rank, a.action), a.action.micro_batch}];
      t.backward = backward;
      (send ? t.from : t.to) = rank;
      (send ? t.sent : t.came) = a.end;
    }
  }
  std::vector<Transfer> transfers;
  for (const auto& [key, t] : all) {
    if (std::abs(t.from - t.to) != 1) return {};
    transfers.push_back(t);
  }
  return transfers.size() <= kMostTransfers ? transfers : std::vector<Transfer>{};
}

// From under the box that sends into the box that receives, so that arrows of one moment do not cover one another.
constexpr double kInside = 3;

// An arrow's head needs some height of its own, so the line stops short of the row.
std::string arrow(double x1, double y1, double x2, double y2, const std::string& colour) {
  const double up = y2 < y1 ? 1 : -1;
  return fmt::format("<path d='M{} {}L{} {}' stroke='{}' fill='none'/><path d='M{} {}l-3 {}h6z' fill='{}'/>\n",
                     number(x1), number(y1), number(x2), number(y2 + 4 * up), colour, number(x2), number(y2),
                     number(5 * up), colour);
}

std::string draw_transfers(const Page& page, const std::vector<Transfer>& transfers) {
  std::string svg;
  for (const Transfer& t : transfers) {
    const bool down = t.to > t.from;
    const double y1 = down ? page.y(t.from) + kRowHeight : page.y(t.from);
    const double y2 = down ? page.y(t.to) : page.y(t.to) + kRowHeight;
    svg += arrow(page.x(t.sent) - kInside, y1, page.x(t.came) + kInside, y2, kStyles[t.backward ? 1 : 0].colour.text());
  }
  return svg;
}

// About one tick in 100 pixels, at multiples of 1, 2 or 5 times a power of ten.
std::vector<double> time_ticks(const Page& page, double length) {
  const double raw = length * 100 / page.plot;
  if (!(raw > 0)) return {0};
  const double step = axis_step(raw);
  std::vector<double> ticks;
  for (double i = 0; i * step <= length * (1 + 1e-9); i += 1) ticks.push_back(i * step);
  return ticks;
}

std::string draw_frame(const Page& page, const Simulation& simulation, const TimelineOptions& options) {
  std::string svg;
  std::string rows;
  for (std::int64_t rank = 0; rank < page.ranks; ++rank) {
    rows +=
        fmt::format("M{} {}h{}v{}h-{}z", kLeft, number(page.y(rank)), number(page.plot), kRowHeight, number(page.plot));
    const double line = page.y(rank) + kRowHeight / 2 + 4;
    svg += fmt::format("<text x='{}' y='{}' text-anchor='end'>rank {}</text>\n", kLeft - 8, number(line), rank);
    svg += fmt::format("<text x='{}' y='{}'>{}</text>\n", number(page.right() + 10), number(line),
                       simulation.peak_live[static_cast<std::size_t>(rank)]);
  }
  svg += fmt::format("<text x='{}' y='{}'>peak live</text>\n", number(page.right() + 10), kTop - 8);
  svg += fmt::format("<path d='{}' fill='{}'/>\n", rows, kWaiting);
  const double axis = page.bottom() + 6;
  for (const double tick : time_ticks(page, simulation.length)) {
    svg += fmt::format("<path d='M{} {}v5' stroke='#444'/>\n", number(page.x(tick)), number(axis));
    svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>{:g}</text>\n", number(page.x(tick)),
                       number(axis + 19), tick);
  }
  svg += fmt::format("<path d='M{} {}h{}' stroke='#444'/>\n", kLeft, number(axis), number(page.plot));
  svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>time{}</text>\n", number(kLeft + page.plot / 2),
                     number(axis + 38), options.time_unit.empty() ? "" : xml_escaped(" (" + options.time_unit + ")"));
  return svg;
}

// One entry after another, from left to right, in as many lines as they need.
class Legend {
 public:
  Legend(double y, double right) : y_(y), right_(right) {}

  void box(const std::string& colour, const std::string& text) {
    begin(14, text);
    mark(colour);
    label(14, text);
  }
  void arrow_down(const std::string& colour, const std::string& text) {
    begin(8, text);
    svg_ += arrow(x_ + 4, y_ - 11, x_ + 4, y_ + 3, colour);
    label(8, text);
  }
  // The shades of one kind side by side; of many only some.
  void shades(const Schedule& schedule, ActionKind kind) {
    const std::int64_t shown = std::min<std::int64_t>(schedule.virtual_stages, 8);
    const double width = 15 * static_cast<double>(shown) - 1;
    const std::string text = fmt::format("virtual stages 0 to {}", schedule.virtual_stages - 1);
    begin(width, text);
    for (std::int64_t i = 0; i < shown; ++i) {
      const std::int64_t v = i * (schedule.virtual_stages - 1) / (shown - 1);
      mark(shade(kind, v, schedule.virtual_stages).text(), 15 * static_cast<double>(i));
    }
    label(width, text);
  }
  void note(const std::string& text) {
    y_ += kLine;
    svg_ += fmt::format("<text x='{}' y='{}' fill='#666'>{}</text>\n", kLeft, number(y_), text);
  }
  double bottom() const { return y_ + 18; }
  const std::string& svg() const { return svg_; }

 private:
  static constexpr double kLine = 22;

  static double width(double mark, const std::string& text) {
    return mark + 6 + 6.6 * static_cast<double>(text.size());
  }
  void begin(double mark, const std::string& text) {
    if (x_ == kLeft || x_ + width(mark, text) <= right_) return;
    x_ = kLeft;
    y_ += kLine;
  }
  void mark(const std::string& colour, double offset = 0) {
    svg_ += fmt::format("<path d='M{} {}h14v12h-14z' fill='{}'/>\n", number(x_ + offset), number(y_ - 10), colour);
  }
  void label(double mark, const std::string& text) {
    svg_ += fmt::format("<text x='{}' y='{}'>{}</text>\n", number(x_ + mark + 6), number(y_), text);
    x_ += width(mark, text) + 18;
  }

  double x_ = kLeft;
  double y_, right_;
  std::string svg_;
};

Legend make_legend(const Page& page, const Schedule& schedule, const Layers& layers, bool transfers) {
  Legend legend(page.bottom() + 72, page.width());
  for (const KindStyle& style : kStyles) {
    const bool there =
        std::any_of(layers.begin(), layers.end(), [&](const auto& entry) { return entry.first.first == style.kind; });
    if (there) legend.box(style.colour.text(), style.name);
  }
  legend.box(kWaiting, "waiting");
  if (schedule.virtual_stages > 1) legend.shades(schedule, ActionKind::kForward);
  if (transfers) legend.arrow_down(kStyles[0].colour.text(), "transfer");
  const bool numbers =
      std::any_of(layers.begin(), layers.end(), [](const auto& entry) { return !entry.second.numbers.empty(); });
  legend.note(fmt::format("{}peak live: {} whose activations a rank holds at once",
                          numbers ? "numbers: micro-batches; " : "",
                          schedule.virtual_stages > 1 ? "pairs of micro-batch and virtual stage" : "micro-batches"));
  return legend;
}

void require_drawable(const Schedule& schedule, const Simulation& simulation, const TimelineOptions& options) {
  const char* const problem = "the simulation is not of this schedule";
  require_equal(schedule.actions.size(), simulation.ranks.size(), problem, "timeline, ranks");
  require_equal(schedule.actions.size(), simulation.peak_live.size(), problem, "timeline, peaks of ranks");
  for (std::size_t rank = 0; rank < schedule.actions.size(); ++rank) {
    require_equal(schedule.actions[rank].size(), simulation.ranks[rank].size(), problem,
                  fmt::format("timeline, actions of rank {}", rank));
  }
  const auto require_finite = [](double value, const char* what) {
    if (std::isfinite(value)) return;
    throw Error("a timeline can only be drawn of finite numbers")
        .values(fmt::format("a finite {}", what), fmt::format("{}", value))
        .at("timeline")
        .hint("are all costs of the simulation finite?");
  };
  require_finite(options.width, "width");
  require_finite(simulation.length, "length");
  for (const auto& rank : simulation.ranks) {
    for (const TimedAction& a : rank) require_finite(a.begin + a.end, "time");
  }
}

}  // namespace

std::string timeline_svg(const Schedule& schedule, const Simulation& simulation, const TimelineOptions& options) {
  require_drawable(schedule, simulation, options);
  Page page = fit(schedule, simulation, options);
  const std::vector<Transfer> transfers = legible_transfers(page, schedule, simulation);
  if (!transfers.empty()) page.gap = kTransferGap;
  const NumberStyle style = number_style(page, schedule);
  const Layers layers = draw_boxes(page, simulation, style);

  const Legend legend = make_legend(page, schedule, layers, !transfers.empty());

  const std::string name = xml_escaped(options.title.empty() ? "schedule" : options.title);
  const std::string shape =
      counted(schedule.ranks(), "pipeline rank") +
      (schedule.virtual_stages > 1 ? fmt::format(" x {} virtual stages", schedule.virtual_stages) : "") + ", " +
      counted(schedule.micro_batches, "micro-batch");
  const std::string facts = fmt::format("bubble {:.1f}%, length {:g}{}", 100 * simulation.bubble(), simulation.length,
                                        options.time_unit.empty() ? "" : xml_escaped(" " + options.time_unit));
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='{1}' viewBox='0 0 {0} {1}' role='img' "
      "font-family='sans-serif' font-size='12' fill='#222'>\n<title>{2}: {3}, {4}</title>\n"
      "<rect width='{0}' height='{1}' fill='#fff'/>\n",
      number(page.width()), number(legend.bottom()), name, shape, facts);
  svg += fmt::format("<text x='{}' y='28' font-size='16'>{}</text>\n", kLeft, name);
  svg += fmt::format("<text x='{}' y='48'>{}; {}</text>\n", kLeft, shape, facts);
  svg += draw_frame(page, simulation, options) + draw_layers(layers, schedule, style.font);
  return svg + draw_transfers(page, transfers) + legend.svg() + "</svg>\n";
}

}  // namespace baekji
