// Streams and events of the stand-in for the CUDA runtime. Kernels and copies run on the thread that calls, which first
// waits for what their stream was given; what waits for other ranks (NCCL) or for events runs on a thread of the
// stream.

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace cuda_on_cpu {
namespace {

// How far a stream has come. Outlives it, for events.
struct Progress {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> tasks;
  std::int64_t given = 0;
  std::int64_t done = 0;
  bool closed = false;

  void wait_until(std::int64_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return done >= count; });
  }
  bool has_done(std::int64_t count) {
    const std::lock_guard lock(mutex);
    return done >= count;
  }
  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return closed || !tasks.empty(); });
      if (tasks.empty()) return;
      const std::function<void()> task = std::move(tasks.front());
      tasks.pop_front();
      lock.unlock();
      task();
      lock.lock();
      ++done;
      changed.notify_all();
    }
  }
};

thread_local std::vector<std::string> journal;
thread_local std::vector<cudaStream_t> streams_of_thread;
thread_local std::int64_t streams_made = 0;
thread_local std::int64_t records_made = 0;

void note(std::int64_t stream, const std::string& what) {
  journal.push_back(std::to_string(stream) + ": " + what);
}

}  // namespace
}  // namespace cuda_on_cpu

struct CudaOnCpuStream {
  std::int64_t number = 0;  // among those of its thread
  std::shared_ptr<cuda_on_cpu::Progress> progress = std::make_shared<cuda_on_cpu::Progress>();
  std::jthread worker;  // from the first task on

  void give(std::function<void()> task) {
    const std::lock_guard lock(progress->mutex);
    progress->tasks.push_back(std::move(task));
    ++progress->given;
    progress->changed.notify_all();
    if (!worker.joinable()) worker = std::jthread([kept = progress] { kept->run(); });
  }
  std::int64_t given() {
    const std::lock_guard lock(progress->mutex);
    return progress->given;
  }
};

struct CudaOnCpuEvent {
  std::shared_ptr<cuda_on_cpu::Progress> progress;  // null: never recorded
  std::int64_t count = 0;
  std::int64_t record = 0;
  std::chrono::steady_clock::time_point time;  // of the record: most streams have done everything by then
};

namespace cuda_on_cpu {

void enqueue(cudaStream_t stream, const std::string& what, std::function<void()> task) {
  note(stream->number, what);
  stream->give(std::move(task));
}

void wait_for(cudaStream_t stream) {
  if (stream != nullptr) return stream->progress->wait_until(stream->given());
  for (const cudaStream_t each : streams_of_thread) each->progress->wait_until(each->given());
}

std::vector<std::string> take_journal() {
  return std::exchange(journal, {});
}

}  // namespace cuda_on_cpu

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  auto made = std::make_unique<CudaOnCpuStream>();
  made->number = ++cuda_on_cpu::streams_made;
  cuda_on_cpu::streams_of_thread.push_back(made.get());
  *stream = made.release();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::unique_ptr<CudaOnCpuStream> gone(stream);
  std::erase(cuda_on_cpu::streams_of_thread, stream);
  cuda_on_cpu::wait_for(stream);
  const std::lock_guard lock(gone->progress->mutex);
  gone->progress->closed = true;
  gone->progress->changed.notify_all();
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  cuda_on_cpu::wait_for(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return stream->progress->has_done(stream->given()) ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  if (event->progress == nullptr) return cudaSuccess;
  cuda_on_cpu::note(stream == nullptr ? 0 : stream->number, "wait " + std::to_string(event->record));
  const auto wait = [progress = event->progress, count = event->count] { progress->wait_until(count); };
  if (stream == nullptr)
    wait();
  else
    stream->give(wait);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return cudaStreamSynchronize(nullptr);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  *event = std::make_unique<CudaOnCpuEvent>().release();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::unique_ptr<CudaOnCpuEvent> gone(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->time = std::chrono::steady_clock::now();
  event->record = ++cuda_on_cpu::records_made;
  cuda_on_cpu::note(stream == nullptr ? 0 : stream->number, "record " + std::to_string(event->record));
  if (stream == nullptr) cuda_on_cpu::wait_for(nullptr);
  static const auto kReached = std::make_shared<cuda_on_cpu::Progress>();
  event->progress = stream == nullptr ? kReached : stream->progress;
  event->count = stream == nullptr ? 0 : stream->given();
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const bool done = event->progress == nullptr || event->progress->has_done(event->count);
  return done ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->progress != nullptr) event->progress->wait_until(event->count);
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  *ms = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return cudaSuccess;
}
