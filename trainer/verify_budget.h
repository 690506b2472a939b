#pragma once
// ReplayBudget: the time that all replays of a verification may take together, by this machine's clock.

#include <chrono>
#include <cstdint>
#include <optional>

namespace baekji {

class ReplayBudget {
 public:
  /// Without a limit everything fits. The clock starts with the first call of start().
  explicit ReplayBudget(std::optional<double> hours) : hours_(hours) {}

  void start() {
    if (!begin_) begin_ = Clock::now();
  }
  bool over() const { return hours_ && used_hours() >= *hours_; }
  /// What was measured: a replay of `steps` steps took `seconds`, of which `training_seconds` for its steps.
  void measured(std::int64_t steps, double seconds, double training_seconds) {
    steps_ += steps;
    training_s_ += training_seconds;
    setup_s_ += seconds - training_seconds;
    ++replays_;
  }
  /// Hours that so many more steps would take, by what was measured; nothing before the first replay.
  std::optional<double> hours_for(std::int64_t steps) const {
    if (steps_ == 0) return std::nullopt;
    return (training_s_ / static_cast<double>(steps_) * static_cast<double>(steps) +
            setup_s_ / static_cast<double>(replays_)) /
           3600;
  }
  bool fits(std::int64_t steps) const { return !hours_ || used_hours() + hours_for(steps).value_or(0) < *hours_; }
  double hours() const { return hours_.value_or(0); }

 private:
  using Clock = std::chrono::steady_clock;
  double used_hours() const {
    return begin_ ? std::chrono::duration<double, std::ratio<3600>>(Clock::now() - *begin_).count() : 0;
  }

  std::optional<double> hours_;
  std::optional<Clock::time_point> begin_;
  std::int64_t steps_ = 0;
  std::int64_t replays_ = 0;
  double training_s_ = 0;
  double setup_s_ = 0;
};

}  // namespace baekji
