#include "data/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/arena.h"

namespace baekji {
namespace {

std::string duration(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds);
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace

Progress::Progress(std::string label, std::int64_t total_bytes, bool enabled)
    : label_(std::move(label)),
      total_bytes_(total_bytes),
      enabled_(enabled),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() {
  if (bar_shown_) std::fputc('\n', stderr);
}

void Progress::update(std::int64_t done_bytes) {
  if (!enabled_) return;
  const Clock::time_point now = Clock::now();
  const double since_last_s = std::chrono::duration<double>(now - last_).count();
  if (since_last_s < (terminal_ ? 0.2 : 10.0)) return;
  last_ = now;
  show(done_bytes, std::chrono::duration<double>(now - start_).count());
}

void Progress::show(std::int64_t done_bytes, double elapsed_s) {
  const double rate = static_cast<double>(done_bytes) / std::max(elapsed_s, 1e-3);
  std::string text =
      fmt::format("{} {}, {}/s", label_, format_bytes(done_bytes), format_bytes(static_cast<std::int64_t>(rate)));
  if (total_bytes_ > 0) {
    const double share = std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes_));
    const double left_s =
        static_cast<double>(std::max(total_bytes_ - done_bytes, std::int64_t{0})) / std::max(rate, 1.0);
    constexpr std::size_t kBarCells = 30;
    const auto cells = static_cast<std::size_t>(share * static_cast<double>(kBarCells));
    const std::string bar = terminal_ ? fmt::format("[{:#<{}}{:.<{}}] ", "", cells, "", kBarCells - cells) : "";
    text = fmt::format("{}{:3.0f}% {} of {}, {} left", bar, share * 100, text, format_bytes(total_bytes_),
                       duration(left_s));
  }
  if (terminal_) {
    std::fputs(("\r\x1b[K" + text).c_str(), stderr);
    std::fflush(stderr);
    bar_shown_ = true;
  } else {
    std::fputs((text + "\n").c_str(), stderr);
  }
}

}  // namespace baekji
