#include "trainer/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>

#include "core/arena.h"

namespace baekji {

std::string format_count(std::int64_t value) {
  std::string digits = fmt::format("{}", value);
  const std::size_t first = value < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  // Beyond a hundred years nobody needs the digits, and they would not fit an integer.
  const auto total = static_cast<std::int64_t>(std::llround(std::min(seconds, 3.2e9)));
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return fmt::format("{}m {:02}s", total / 60, total % 60);
  if (total < 86400) return fmt::format("{}h {:02}m", total / 3600, total / 60 % 60);
  return fmt::format("{}d {:02}h", total / 86400, total / 3600 % 24);
}

std::string format_progress(const ProgressLine& l) {
  const std::string steps = fmt::format("{}", l.steps);
  const std::string share = l.mfu > 0 ? fmt::format("{:.1f}% of ceiling  ", 100 * l.mfu) : std::string();
  return fmt::format(
      "step {:>{}}/{}  loss {:.4f}  norm {:.3f}  lr {:.2e}  {:>7} tok/s  {}{}  ETA {}", l.step, steps.size(), steps,
      l.loss, l.grad_norm, l.learning_rate,
      format_count(static_cast<std::int64_t>(std::isfinite(l.tokens_per_s) ? l.tokens_per_s + 0.5 : 0.0)), share,
      format_bytes(l.memory_bytes), format_duration(l.eta_s));
}

void RateMeter::add(double step_s, std::int64_t tokens) {
  last_.push_back({step_s, tokens});
  if (last_.size() > window_) last_.pop_front();
  // Summed anew: a running difference would drift over a million steps.
  sum_ = {};
  for (const Step& step : last_) {
    sum_.step_s += step.step_s;
    sum_.tokens += step.tokens;
  }
}

double RateMeter::tokens_per_s() const {
  return sum_.step_s > 0 ? static_cast<double>(sum_.tokens) / sum_.step_s : 0;
}

double RateMeter::eta_s(std::int64_t steps_left) const {
  return last_.empty() ? 0 : sum_.step_s / static_cast<double>(last_.size()) * static_cast<double>(steps_left);
}

ProgressPrinter::~ProgressPrinter() {
  if (open_) args_.out << '\n' << std::flush;
}

void ProgressPrinter::show(const std::string& line) {
  if (!args_.terminal) {
    args_.out << line << '\n' << std::flush;
    return;
  }
  // A line that fills the last column would wrap, and the carriage return would then rewrite only its tail.
  const std::size_t room = args_.columns > 1 ? args_.columns - 1 : 1;
  args_.out << '\r' << line.substr(0, room) << "\x1b[K" << std::flush;
  open_ = true;
}

void ProgressPrinter::say(const std::string& text) {
  if (open_) args_.out << '\n';
  open_ = false;
  args_.out << text << '\n' << std::flush;
}

// mpirun gives its ranks a pseudo-terminal for standard output only, whatever its own output is.
bool stdout_is_terminal() {
  return isatty(STDOUT_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
}

std::size_t terminal_columns() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 120;
}

}  // namespace baekji
