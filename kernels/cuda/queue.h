#pragma once
// Queue: a CUDA stream and what the calls on it share: working memory, and host memory for copies.

#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/device.h"

namespace baekji::cuda {

/// Used by one thread of the host. Calls on it run one after another on the device; the host does not wait for them,
/// except where it says so.
class Queue {
 public:
  explicit Queue(Device device);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  Device device() const { return device_; }
  /// A blocking stream: plain copies (core/device.h) come after its work, whoever makes them.
  cudaStream_t stream() const { return stream_; }

  /// At least `size_bytes` of working memory of the device, aligned to 256 bytes, for the next calls on the queue until
  /// scratch() is called again. Contents are unspecified. Grows when asked for more than ever before, which waits for
  /// the device.
  void* scratch(std::int64_t size_bytes);
  std::int64_t scratch_bytes() const { return scratch_bytes_; }

  /// to = from in order with the queue. The host's memory is free again on return; the copy may not be done.
  void upload(const void* from, void* to, std::int64_t size_bytes);
  /// The same in the other direction; waits for everything before it, and is done on return.
  void download(const void* from, void* to, std::int64_t size_bytes);
  void synchronize();
  /// synchronize() and download() call `poll` now and then with the seconds that they have waited; what it throws ends
  /// the wait.
  void poll_with(std::function<void(double waited_s)> poll) { poll_ = std::move(poll); }

 private:
  // Page-locked memory that an upload copies through. Free again when its event has passed.
  struct Staging {
    HostBuffer buffer;
    cudaEvent_t done = nullptr;
  };
  static constexpr std::int64_t kStagingBytes = std::int64_t{4} << 20;

  Device device_;
  cudaStream_t stream_ = nullptr;
  void* scratch_ = nullptr;
  std::int64_t scratch_bytes_ = 0;
  std::array<Staging, 4> staging_;
  std::size_t next_ = 0;
  HostBuffer landing_;  // of downloads
  std::function<void(double)> poll_;
};

}  // namespace baekji::cuda
