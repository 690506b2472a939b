#include "core/background_job.h"

#include <atomic>
#include <exception>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/float_environment.h"

namespace baekji {

struct BackgroundJob::State {
  std::thread thread;
  std::stop_source stop;
  std::exception_ptr failure;  // written before `running` falls, read after the thread was joined
  std::atomic<bool> running{false};
  bool waited_for = true;

  void run(const Job& job) {
    try {
      set_float_environment();
      job(stop.get_token());
    } catch (...) {
      failure = std::current_exception();
    }
    running = false;
  }
};

BackgroundJob::BackgroundJob() : state_(std::make_unique<State>()) {}

BackgroundJob::~BackgroundJob() {
  state_->stop.request_stop();
  if (state_->thread.joinable()) state_->thread.join();
}

void BackgroundJob::require_none() const {
  if (!state_->waited_for)
    throw Error("a background job starts after the one before it").values("a wait for that one", "none");
}

void BackgroundJob::start(Job job) {
  require_none();
  State& s = *state_;
  s.running = true;
  try {
    s.thread = std::thread([&s, job = std::move(job)] { s.run(job); });
  } catch (...) {
    s.running = false;
    throw;
  }
  s.waited_for = false;
}

void BackgroundJob::run_here(const Job& job) {
  require_none();
  state_->waited_for = false;
  state_->run(job);
}

bool BackgroundJob::running() const {
  return state_->running;
}

void BackgroundJob::wait() {
  State& s = *state_;
  if (s.thread.joinable()) s.thread.join();
  s.waited_for = true;
  if (s.failure) std::rethrow_exception(std::exchange(s.failure, nullptr));
}

void give_up_if_asked(const std::stop_token& stop, std::string_view place) {
  if (stop.stop_requested())
    throw Error("a background job gave up").values("time to end", "the end of the run").at(place);
}

}  // namespace baekji
