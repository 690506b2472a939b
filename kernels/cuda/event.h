#pragma once
// Event: a point in a stream, for measurements.

#include "core/cuda_check.h"

namespace baekji::cuda {

class Event {
 public:
  Event() { check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDefault), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  /// Waits until the device has come here; `begin` was recorded before.
  double milliseconds_since(const Event& begin) const {
    check_cuda(cudaEventSynchronize(event_), "cudaEventSynchronize");
    float time_ms = 0;
    check_cuda(cudaEventElapsedTime(&time_ms, begin.event_, event_), "cudaEventElapsedTime");
    return static_cast<double>(time_ms);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace baekji::cuda
