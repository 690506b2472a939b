#include "core/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/float_environment.h"

namespace baekji {

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<std::uint64_t> generation{0};
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> next{0};
  std::atomic<int> busy{0};
  std::int64_t count = 0;
  const std::function<void(std::int64_t)>* task = nullptr;
  std::exception_ptr failure;

  // Whoever had this thread before, library or plugin, may have left it another floating-point environment.
  void drain(int thread) {
    set_float_environment();
    for (std::int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      try {
        (*task)(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    }
    try {
      require_float_environment(fmt::format("thread {} of the pool", thread));
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
};

namespace {

// Kernels follow one another within microseconds: a worker spins this often before it sleeps. Short enough that an
// idle pool does not hold a core (about 50 us).
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads), state_(std::make_unique<State>()) {
  if (threads < 1) throw Error("a thread pool needs at least one thread").values(">= 1", fmt::format("{}", threads));
  for (int worker = 1; worker < threads; ++worker) state_->workers.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
    state_->generation.fetch_add(1);
  }
  state_->wake.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

void ThreadPool::run(std::int64_t count, const std::function<void(std::int64_t)>& task) {
  if (count <= 0) return;
  if (threads_ == 1 || count == 1) {
    set_float_environment();
    for (std::int64_t i = 0; i < count; ++i) task(i);
    require_float_environment("thread 0 of the pool");
    return;
  }
  State& s = *state_;
  s.count = count;
  s.task = &task;
  s.failure = nullptr;
  s.next = 0;
  s.busy = threads_ - 1;
  {
    const std::lock_guard lock(s.mutex);  // pairs with the sleeping worker's check: no wake-up is lost
    s.generation.fetch_add(1);
  }
  s.wake.notify_all();
  s.drain(0);
  for (int spin = 0; s.busy.load() != 0; ++spin) {
    if (spin < kSpins)
      relax();
    else
      std::this_thread::yield();
  }
  if (s.failure) std::rethrow_exception(s.failure);
}

void ThreadPool::work(int worker) {
  State& s = *state_;
  std::uint64_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kSpins && s.generation.load() == seen; ++spin) relax();
    if (s.generation.load() == seen) {
      std::unique_lock lock(s.mutex);
      s.wake.wait(lock, [&] { return s.generation.load() != seen; });
    }
    seen = s.generation.load();
    if (s.stop) return;
    s.drain(worker);
    s.busy.fetch_sub(1);
  }
}

}  // namespace baekji
