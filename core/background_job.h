#pragma once
// BackgroundJob: one job at a time on a thread of its own, beside the thread that started it. For work that waits for
// disks while kernels go on; kernels themselves run on core/thread_pool.

#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>

namespace baekji {

class BackgroundJob {
 public:
  using Job = std::function<void(const std::stop_token&)>;

  BackgroundJob();
  /// Asks a running job to give up and waits until it has ended; what it throws is dropped.
  ~BackgroundJob();
  BackgroundJob(const BackgroundJob&) = delete;
  BackgroundJob& operator=(const BackgroundJob&) = delete;

  /// Starts `job` on a thread of its own. Throws when the job before was not waited for.
  void start(Job job);
  /// The same in this thread, for a caller that has nothing else to do: what the job throws comes from wait() too.
  void run_here(const Job& job);
  /// Whether a started job has not ended yet.
  bool running() const;
  /// Returns when the job has ended, and throws what it threw. Returns at once when there is none.
  void wait();

 private:
  void require_none() const;

  struct State;
  std::unique_ptr<State> state_;
};

/// Throws when `stop` asks a job at `place` to give up.
void give_up_if_asked(const std::stop_token& stop, std::string_view place);

}  // namespace baekji
