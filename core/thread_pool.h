#pragma once
// Our own threads: the only threads that kernels use. Library calls always run single-threaded inside them.

#include <cstdint>
#include <functional>
#include <memory>

namespace baekji {

/// A fixed set of threads that run independent tasks. The split into tasks must depend on the problem alone, never on
/// `threads()`; then any thread count and any order of execution give the same bits.
class ThreadPool {
 public:
  /// `threads` counts the calling thread. Throws when it is below 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  /// Runs task(0) ... task(count - 1), each once, in any order, and returns when all are done. The first exception that
  /// a task throws is rethrown here, after the others have ended. Not reentrant: a task must not call run(). Each
  /// thread's floating-point environment (core/float_environment.h) is set before its first task and looked at after
  /// its last: throws when a task has changed it.
  void run(std::int64_t count, const std::function<void(std::int64_t)>& task);

  /// Splits [0, size) into ranges of `grain` (the last one shorter) and runs body(begin, end) for each.
  template <class Body>
  void for_ranges(std::int64_t size, std::int64_t grain, const Body& body) {
    if (size <= 0) return;
    run((size + grain - 1) / grain, [&](std::int64_t i) {
      const std::int64_t begin = i * grain;
      body(begin, begin + grain < size ? begin + grain : size);
    });
  }

 private:
  struct State;
  void work(int worker);

  int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace baekji
