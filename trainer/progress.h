#pragma once
// The progress of a run for people: one line, rewritten in place on a terminal, printed anew elsewhere.

#include <cstdint>
#include <deque>
#include <ostream>
#include <string>

namespace baekji {

/// What one progress line shows.
struct ProgressLine {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  double loss = 0;
  double grad_norm = 0;
  double learning_rate = 0;
  double tokens_per_s = 0;
  double mfu = 0;  ///< share of the measured matmul ceiling; 0 means unknown
  std::int64_t memory_bytes = 0;
  double eta_s = 0;
};

/// "step  120/600  loss 5.1234  norm 0.812  lr 3.00e-04   12,345 tok/s  61.2% of ceiling  1.2 GiB  ETA 3m 20s"
std::string format_progress(const ProgressLine& line);
/// "45s", "3m 20s", "5h 02m", "12d 03h".
std::string format_duration(double seconds);
/// "1,234,567".
std::string format_count(std::int64_t value);

/// Averages the last steps, so that the rate and the time left do not jump with each step.
class RateMeter {
 public:
  explicit RateMeter(std::size_t window = 20) : window_(window) {}
  void add(double step_s, std::int64_t tokens);
  double tokens_per_s() const;
  /// Time for `steps_left` more steps; 0 before the first add().
  double eta_s(std::int64_t steps_left) const;

 private:
  struct Step {
    double step_s = 0;
    std::int64_t tokens = 0;
  };
  std::size_t window_;
  std::deque<Step> last_;
  Step sum_;
};

/// Writes progress lines and messages to one stream so that they never mix.
class ProgressPrinter {
 public:
  struct Args {
    std::ostream& out;
    bool terminal = false;      ///< rewrite the line in place
    std::size_t columns = 120;  ///< width of the terminal; a longer line is cut there, or it could not be rewritten
  };
  explicit ProgressPrinter(const Args& args) : args_(args) {}
  /// Ends an unfinished line.
  ~ProgressPrinter();
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;

  void show(const std::string& line);
  /// A message on lines of its own; the running progress line stays above it.
  void say(const std::string& text);

 private:
  Args args_;
  bool open_ = false;  // the cursor stands behind a progress line
};

/// Whether standard output goes to a person at a terminal, and its width in columns (120 when it does not say).
bool stdout_is_terminal();
std::size_t terminal_columns();

}  // namespace baekji
