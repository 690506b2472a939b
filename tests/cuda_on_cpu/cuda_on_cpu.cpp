// The stand-in for the CUDA runtime: include/cuda_runtime.h says what it is.

#include <cuda_runtime.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/cuda_on_cpu/block_run.h"

namespace baekji::cuda {
// Dynamic shared memory of the block that this thread of the host runs (kernels/cuda/launch.cuh). Where it is declared,
// the compiler cannot know that it needs no initialising, and calls the function for that; it exists only if there is
// something to do, so the first byte's value is made one that is not a constant.
extern thread_local std::byte dynamic_shared_bytes[];
alignas(128) thread_local std::byte dynamic_shared_bytes[232448] = {std::byte{threadIdx.x != 0}};
}  // namespace baekji::cuda

namespace cuda_on_cpu {
namespace {

constexpr std::size_t kDeviceBytes = std::size_t{4} << 30;
constexpr std::size_t kMostSharedBytes = 232448;  // 227 KiB, Hopper's
constexpr std::size_t kSharedBytesUnasked = 48 << 10;
constexpr std::size_t kAlignment = 512;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// The device's memory: one reservation, closed to everybody while no kernel and no copy runs.
class Memory {
 public:
  static Memory& get() {
    static Memory memory;
    return memory;
  }
  void* allocate(std::size_t size_bytes) {
    const std::lock_guard lock(mutex_);
    const std::size_t size = (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
    for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
      if (hole->second < size) continue;
      const std::size_t at = hole->first;
      const std::size_t left = hole->second - size;
      holes_.erase(hole);
      if (left > 0) holes_[at + size] = left;
      return take(at, size);
    }
    if (end_ + size > kDeviceBytes) return nullptr;
    end_ += size;
    return take(end_ - size, size);
  }
  void release(void* memory) {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.find(static_cast<std::size_t>(static_cast<std::byte*>(memory) - base_));
    if (block == blocks_.end()) std::abort();  // not an address of ours: a bug of the caller
    auto [hole, is_new] = holes_.emplace(block->first, block->second);
    blocks_.erase(block);
    const auto next = std::next(hole);
    if (next != holes_.end() && hole->first + hole->second == next->first) {
      hole->second += next->second;
      holes_.erase(next);
    }
  }
  void open() {
    const std::lock_guard lock(mutex_);
    if (users_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--users_ == 0) protect(PROT_NONE);
  }
  std::size_t used() {
    const std::lock_guard lock(mutex_);
    std::size_t total = 0;
    for (const auto& [at, size] : blocks_) total += size;
    return total;
  }

 private:
  Memory() {
    constexpr std::size_t kReserved = kDeviceBytes + kHugePage;
    void* memory = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    // Every kernel opens and closes the memory: with huge pages, a few hundred times faster. Where there are none, the
    // advice is refused and nothing is lost but time.
    madvise(memory, kReserved, MADV_HUGEPAGE);
    std::size_t space = kReserved;
    base_ = static_cast<std::byte*>(std::align(kHugePage, kDeviceBytes, memory, space));
  }
  void* take(std::size_t at, std::size_t size) {
    blocks_[at] = size;
    protect(PROT_READ | PROT_WRITE);
    std::memset(base_ + at, 0xFF, size);  // NaN in every floating-point type: what nobody wrote shows
    if (users_ == 0) protect(PROT_NONE);
    return base_ + at;
  }
  void protect(int access) {
    if (end_ > 0 && mprotect(base_, (end_ + kHugePage - 1) / kHugePage * kHugePage, access) != 0) std::abort();
  }

  std::mutex mutex_;
  std::byte* base_ = nullptr;
  std::size_t end_ = 0;
  int users_ = 0;
  std::map<std::size_t, std::size_t> blocks_;
  std::map<std::size_t, std::size_t> holes_;
};

std::mutex shared_mutex;
std::map<const void*, std::size_t>& shared_limits() {
  static std::map<const void*, std::size_t> limits;
  return limits;
}

}  // namespace

DeviceAccess::DeviceAccess() {
  Memory::get().open();
}
DeviceAccess::~DeviceAccess() {
  Memory::get().close();
}

void allow_shared_memory(const void* kernel, std::size_t size_bytes) {
  const std::lock_guard lock(shared_mutex);
  shared_limits()[kernel] = size_bytes;
}

cudaError_t run_grid(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread) {
  const dim3& grid = config.gridDim;
  const dim3& block = config.blockDim;
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  const bool grid_fits =
      grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x < 0x80000000U && grid.y < 65536 && grid.z < 65536;
  std::size_t shared_limit = kSharedBytesUnasked;
  {
    const std::lock_guard lock(shared_mutex);
    const auto asked = shared_limits().find(kernel);
    if (asked != shared_limits().end()) shared_limit = asked->second;
  }
  if (!grid_fits || threads == 0 || threads > 1024) return cudaErrorInvalidConfiguration;
  if (config.dynamicSmemBytes > shared_limit || shared_limit > kMostSharedBytes) return cudaErrorInvalidValue;
  wait_for(config.stream);
  const DeviceAccess access;
  blockDim = block;
  gridDim = grid;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        std::memset(baekji::cuda::dynamic_shared_bytes, 0xFF, config.dynamicSmemBytes);
        BlockRun(block, thread).run();
      }
    }
  }
  return cudaSuccess;
}

void block_barrier() {
  BlockRun::current().block_barrier();
}
void warp_barrier() {
  BlockRun::current().warp_barrier();
}
int lane() {
  return BlockRun::current().lane();
}
void publish(const void* value, std::size_t size_bytes) {
  BlockRun::current().publish(value, size_bytes);
}
void fetch(int lane, void* value, std::size_t size_bytes) {
  BlockRun::current().fetch(lane, value, size_bytes);
}

}  // namespace cuda_on_cpu

namespace {
std::atomic<int> host_allocations = 0;
}  // namespace
int cuda_on_cpu::host_allocations_made() {
  return host_allocations;
}

using cuda_on_cpu::DeviceAccess;
using cuda_on_cpu::Memory;

const char* cudaGetErrorName(cudaError_t /*code*/) {
  return "cudaError";
}
const char* cudaGetErrorString(cudaError_t /*code*/) {
  return "an error of the stand-in for CUDA";
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int /*device*/) {
  *properties = {"CUDA on this CPU", {}, 9, 0, 4, cuda_on_cpu::kMostSharedBytes};
  const int gpu = cuda_on_cpu::gpu_of_thread;
  std::memcpy(properties->uuid.bytes, &gpu, sizeof gpu);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr /*attribute*/, int /*device*/) {
  *value = 4;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  return cudaDriverGetVersion(version);
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = cuda_on_cpu::kDeviceBytes;
  *free = *total - Memory::get().used();
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, std::size_t size_bytes) {
  *memory = Memory::get().allocate(size_bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  cuda_on_cpu::wait_for(nullptr);  // as a device does
  if (memory != nullptr) Memory::get().release(memory);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** memory, std::size_t size_bytes, unsigned /*flags*/) {
  ++host_allocations;
  *memory = std::malloc(size_bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* to, int value, std::size_t size_bytes) {
  return cudaMemsetAsync(to, value, size_bytes, nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t size_bytes, cudaStream_t stream) {
  cuda_on_cpu::wait_for(stream);
  const DeviceAccess access;
  std::memset(to, value, size_bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset2DAsync(void* to, std::size_t pitch, int value, std::size_t width, std::size_t height,
                              cudaStream_t stream) {
  cuda_on_cpu::wait_for(stream);
  const DeviceAccess access;
  for (std::size_t row = 0; row < height; ++row) std::memset(static_cast<std::byte*>(to) + row * pitch, value, width);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t size_bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, size_bytes, kind, nullptr);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size_bytes, cudaMemcpyKind /*kind*/,
                            cudaStream_t stream) {
  cuda_on_cpu::wait_for(stream);
  const DeviceAccess access;
  std::memmove(to, from, size_bytes);
  return cudaSuccess;
}
