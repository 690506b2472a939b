// core/device_cuda.h over the CUDA runtime.

#include "core/device_cuda.h"

#include <cstdlib>

#include "core/cuda_check.h"
#include "core/types.h"

namespace baekji {
namespace {

constexpr int kOldestMajor = 9;  // Hopper: what the kernels are compiled for

std::string version(int cuda) {
  return fmt::format("{}.{}", cuda / 1000, cuda % 1000 / 10);
}

void make_current(Device device) {
  check_cuda(cudaSetDevice(device.ordinal), "cudaSetDevice " + device.describe());
}

// Why there is no device to work on; a missing driver counts as a driver of version 0.
[[noreturn]] void refuse(cudaError_t code) {
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) {
    throw Error("no CUDA device")
        .values("an NVIDIA driver and a GPU", fmt::format("no driver ({})", cudaGetErrorString(code)))
        .at("layout.device = \"cuda\"")
        .hint("use a machine with a GPU, or layout.device = \"cpu\"");
  }
  if (driver < runtime / 1000 * 1000) {  // minor versions of one major are compatible
    throw Error("the NVIDIA driver is too old")
        .values(fmt::format("one for CUDA {}", version(runtime)), fmt::format("one for CUDA {}", version(driver)))
        .at("layout.device = \"cuda\"")
        .hint("update the driver, or use layout.device = \"cpu\"");
  }
  throw Error("no CUDA device")
      .values("at least one GPU", code == cudaSuccess ? "none" : cudaGetErrorString(code))
      .at("layout.device = \"cuda\"")
      .hint("look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use layout.device = \"cpu\"");
}

}  // namespace

bool built_with_cuda() {
  return true;
}

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return 0;
  return count;
}

CudaInfo cuda_info(Device device) {
  make_current(device);
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.ordinal), "cudaGetDeviceProperties");
  CudaInfo info{.name = properties.name,
                .major = properties.major,
                .minor = properties.minor,
                .multiprocessors = properties.multiProcessorCount};
  std::size_t free = 0;
  std::size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  info.memory_bytes = static_cast<std::int64_t>(total);
  info.free_bytes = static_cast<std::int64_t>(free);
  check_cuda(cudaDriverGetVersion(&info.driver), "cudaDriverGetVersion");
  check_cuda(cudaRuntimeGetVersion(&info.runtime), "cudaRuntimeGetVersion");
  return info;
}

Device select_cuda_device(int local_rank) {
  // A stream for each group of ranks, and more streams than queues would let a send that waits for its receiver hold up
  // the kernels behind it (CUDA's environment variables: 8 queues unless told otherwise, 32 at most). Before CUDA
  // starts.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0) refuse(code);
  const Device device{.kind = DeviceKind::kCuda, .ordinal = narrow<std::int8_t>(local_rank % count)};
  const CudaInfo info = cuda_info(device);
  if (info.major < kOldestMajor) {
    throw Error("the GPU is too old")
        .values(fmt::format("compute capability {}.0 (Hopper) or later", kOldestMajor),
                fmt::format("{}.{} ({})", info.major, info.minor, info.name))
        .at(device.describe())
        .hint("use an H100, H200 or B200, or layout.device = \"cpu\"");
  }
  return device;
}

void* cuda_allocate(Device device, std::int64_t size_bytes) {
  make_current(device);
  void* memory = nullptr;
  const cudaError_t code = cudaMalloc(&memory, static_cast<std::size_t>(size_bytes));
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // taken note of: the next call starts clean
    return nullptr;
  }
  check_cuda(code, "cudaMalloc");
  check_cuda(cudaMemset(memory, 0, static_cast<std::size_t>(size_bytes)), "cudaMemset");
  return memory;
}

void cuda_free(Device device, void* memory) noexcept {
  if (cudaSetDevice(device.ordinal) == cudaSuccess) cudaFree(memory);
}

void* cuda_allocate_host(Device device, std::int64_t size_bytes) {
  make_current(device);
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, static_cast<std::size_t>(size_bytes), cudaHostAllocDefault) == cudaSuccess) return memory;
  cudaGetLastError();
  return nullptr;
}

void cuda_free_host(void* memory) noexcept {
  cudaFreeHost(memory);
}

// The legacy default stream waits for every blocking stream, and ours are: a plain copy comes after all work before it.
void cuda_copy(const MemoryPlace& to, const MemorySource& from, std::int64_t size_bytes) {
  make_current(to.device.is_host() ? from.device : to.device);
  check_cuda(cudaMemcpy(to.data, from.data, static_cast<std::size_t>(size_bytes), cudaMemcpyDefault), "cudaMemcpy");
  // Between two places of one device the call returns before the copy is done.
  check_cuda(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
}

}  // namespace baekji
