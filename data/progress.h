#pragma once
// Progress of a long reading job, on stderr: a bar on a terminal, else a plain line now and then.

#include <chrono>
#include <cstdint>
#include <string>

namespace baekji {

class Progress {
 public:
  /// `total_bytes` of 0 means unknown. Nothing is shown when not `enabled`.
  Progress(std::string label, std::int64_t total_bytes, bool enabled);
  /// Ends the bar's line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Cheap: shows at most 5 times a second on a terminal, else every 10 s.
  void update(std::int64_t done_bytes);

 private:
  using Clock = std::chrono::steady_clock;
  void show(std::int64_t done_bytes, double elapsed_s);

  std::string label_;
  std::int64_t total_bytes_;
  bool enabled_;
  bool terminal_;
  bool bar_shown_ = false;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace baekji
