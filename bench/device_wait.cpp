#include "bench/device_wait.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace baekji::bench {

DeviceWait::DeviceWait(Kernels& kernels)
    : kernels_(kernels),
      arena_(Arena::Mode::kAllocate, kernels.device()),
      word_(arena_.allocate("benchmark", DType::kInt32, {1})) {}

void DeviceWait::operator()() const {
  if (kernels_.device().is_host()) return;
  std::int32_t word = 0;
  kernels_.download({.from = word_, .to = &word});
}

double DeviceWait::idle_s() const {
  if (kernels_.device().is_host()) return 0;
  std::vector<double> times(201);
  for (double& time : times) {
    const auto start = std::chrono::steady_clock::now();
    (*this)();
    time = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  std::nth_element(times.begin(), times.begin() + 100, times.end());
  return times[100];
}

}  // namespace baekji::bench
