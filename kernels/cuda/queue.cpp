#include "kernels/cuda/queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/cuda_check.h"
#include "core/types.h"

namespace baekji::cuda {

Queue::Queue(Device device) : device_(device), landing_(device, kStagingBytes) {
  check_cuda(cudaSetDevice(device.ordinal), "cudaSetDevice");
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamDefault), "cudaStreamCreate");
  for (Staging& staging : staging_) {
    staging.buffer = HostBuffer(device, kStagingBytes);
    check_cuda(cudaEventCreateWithFlags(&staging.done, cudaEventDisableTiming), "cudaEventCreate");
  }
}

Queue::~Queue() {
  cudaStreamSynchronize(stream_);
  for (const Staging& staging : staging_) cudaEventDestroy(staging.done);
  if (scratch_ != nullptr) free_memory(device_, scratch_, scratch_bytes_);
  cudaStreamDestroy(stream_);
}

void* Queue::scratch(std::int64_t size_bytes) {
  if (size_bytes <= scratch_bytes_) return scratch_;
  synchronize();
  if (scratch_ != nullptr) free_memory(device_, scratch_, scratch_bytes_);
  scratch_bytes_ = 0;
  scratch_ = allocate_memory(device_, size_bytes);
  if (scratch_ == nullptr) {
    throw Error("out of memory")
        .values(fmt::format("{} bytes of working memory", size_bytes), "refused")
        .at(device_.describe())
        .hint("use a smaller micro_batch, or a larger tensor or pipeline degree");
  }
  scratch_bytes_ = size_bytes;
  return scratch_;
}

void Queue::upload(const void* from, void* to, std::int64_t size_bytes) {
  for (std::int64_t done = 0; done < size_bytes; done += kStagingBytes) {
    const auto piece = static_cast<std::size_t>(std::min(kStagingBytes, size_bytes - done));
    Staging& staging = staging_[next_++ % staging_.size()];
    check_cuda(cudaEventSynchronize(staging.done), "cudaEventSynchronize");
    std::memcpy(staging.buffer.data(), static_cast<const std::byte*>(from) + done, piece);
    check_cuda(
        cudaMemcpyAsync(static_cast<std::byte*>(to) + done, staging.buffer.data(), piece, cudaMemcpyDefault, stream_),
        "cudaMemcpyAsync to the device");
    check_cuda(cudaEventRecord(staging.done, stream_), "cudaEventRecord");
  }
}

void Queue::download(const void* from, void* to, std::int64_t size_bytes) {
  for (std::int64_t done = 0; done < size_bytes; done += kStagingBytes) {
    const auto piece = static_cast<std::size_t>(std::min(kStagingBytes, size_bytes - done));
    check_cuda(
        cudaMemcpyAsync(landing_.data(), static_cast<const std::byte*>(from) + done, piece, cudaMemcpyDefault, stream_),
        "cudaMemcpyAsync to the host");
    synchronize();
    std::memcpy(static_cast<std::byte*>(to) + done, landing_.data(), piece);
  }
}

// A stream that waits for another rank cannot be waited for in one call: that rank may be lost. Most waits are short,
// and spin.
void Queue::synchronize() {
  constexpr double kSpin_s = 0.002;
  constexpr auto kSleep = std::chrono::microseconds(100);
  const auto start = std::chrono::steady_clock::now();
  while (poll_) {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state != cudaErrorNotReady) break;
    const double waited_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (waited_s < kSpin_s) continue;
    poll_(waited_s);
    std::this_thread::sleep_for(kSleep);
  }
  check_cuda(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

}  // namespace baekji::cuda
