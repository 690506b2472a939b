#pragma once
// CUDA devices. Without the toolkit all of this is a stub that says so (core/device_none.cpp): the build has one or the
// other, no source asks which.

#include <cstdint>
#include <string>

#include "core/device.h"

namespace baekji {

/// What a CUDA device is, for people, for the kernel set and for the checks before a run.
struct CudaInfo {
  std::string name;  ///< "NVIDIA H100 80GB HBM3"
  int major = 0;     ///< compute capability
  int minor = 0;
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t free_bytes = 0;  ///< now
  int driver = 0;               ///< the CUDA version that the driver serves: 13000 is 13.0
  int runtime = 0;              ///< the one that this program was linked with
};

/// Whether this program was built with the CUDA toolkit.
bool built_with_cuda();
/// CUDA devices that the process sees: 0 without a driver, or without CUDA in the build. Never throws.
int cuda_device_count();
CudaInfo cuda_info(Device device);

/// The device for the `local_rank`-th process of its machine: devices are dealt out in turn, and shared where ranks are
/// more. It becomes this thread's current one. Throws Error, with what was found, when the build has no CUDA, when no
/// driver or no device is there, when the driver is too old for the runtime, or the device older than Hopper (9.0).
Device select_cuda_device(int local_rank);

/// What core/device.h does on a CUDA device.
void* cuda_allocate(Device device, std::int64_t size_bytes);
void cuda_free(Device device, void* memory) noexcept;
void* cuda_allocate_host(Device device, std::int64_t size_bytes);
void cuda_free_host(void* memory) noexcept;
void cuda_copy(const MemoryPlace& to, const MemorySource& from, std::int64_t size_bytes);

}  // namespace baekji
