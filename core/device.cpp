#include "core/device.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "core/device_cuda.h"
#include "core/error.h"

namespace baekji {

std::string Device::describe() const {
  return is_host() ? "cpu" : fmt::format("cuda {}", ordinal);
}

void* allocate_memory(Device device, std::int64_t size_bytes) {
  if (!device.is_host()) return cuda_allocate(device, size_bytes);
  constexpr std::int64_t kHugePageBytes = std::int64_t{2} << 20;
  void* const memory =
      mmap(nullptr, static_cast<std::size_t>(size_bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  // Large blocks get transparent huge pages: fewer page faults and TLB misses in the GEMMs.
  if (size_bytes >= kHugePageBytes) madvise(memory, static_cast<std::size_t>(size_bytes), MADV_HUGEPAGE);
  return memory;
}

void free_memory(Device device, void* memory, std::int64_t size_bytes) noexcept {
  if (device.is_host())
    munmap(memory, static_cast<std::size_t>(size_bytes));
  else
    cuda_free(device, memory);
}

void copy_memory(const MemoryPlace& to, const MemorySource& from, std::int64_t size_bytes) {
  if (size_bytes == 0 || to.data == from.data) return;
  if (to.device.is_host() && from.device.is_host())
    std::memcpy(to.data, from.data, static_cast<std::size_t>(size_bytes));
  else
    cuda_copy(to, from, size_bytes);
}

HostBuffer::HostBuffer(Device device, std::int64_t size_bytes) : size_bytes_(size_bytes), device_(device) {
  if (size_bytes == 0) return;
  data_ = static_cast<std::byte*>(device.is_host() ? allocate_memory(device, size_bytes)
                                                   : cuda_allocate_host(device, size_bytes));
  if (data_ != nullptr) return;
  throw Error("out of host memory")
      .values(fmt::format("{} bytes", size_bytes), "refused by the system")
      .at(device.is_host() ? "memory" : "page-locked memory for " + device.describe());
}

HostBuffer::~HostBuffer() {
  if (data_ == nullptr) return;
  if (device_.is_host())
    free_memory(device_, data_, size_bytes_);
  else
    cuda_free_host(data_);
}

HostBuffer::HostBuffer(HostBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(other.size_bytes_), device_(other.device_) {}

HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(device_, other.device_);
  return *this;
}

}  // namespace baekji
