#pragma once
// DeviceWait: until a device has done all that its kernels were asked for. Kernels has no such operation, because
// nothing in training may need it; the end of a download is one.

#include "core/arena.h"
#include "kernels/kernels.h"

namespace baekji::bench {

class DeviceWait {
 public:
  /// `kernels` outlives it. On the CPU operations are done when they return, and nothing is waited for.
  explicit DeviceWait(Kernels& kernels);
  void operator()() const;

  /// Seconds that it takes when there is nothing to wait for: the median of many.
  double idle_s() const;

 private:
  Kernels& kernels_;
  Arena arena_;
  Tensor word_;
};

}  // namespace baekji::bench
