#pragma once
// Device: where memory lives, and the few things that everything above the kernels needs of it.

#include <cstddef>
#include <cstdint>
#include <string>

namespace baekji {

enum class DeviceKind : std::uint8_t { kCpu, kCuda };

/// A value: the host, or one of this process's CUDA devices.
struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  std::int8_t ordinal = 0;  ///< among the CUDA devices that the process sees

  bool is_host() const { return kind == DeviceKind::kCpu; }
  bool operator==(const Device&) const = default;
  /// "cpu", "cuda 0"
  std::string describe() const;
};

/// Zero-filled memory, aligned to 256 bytes or more; null when the device has none left. free_memory gives it back.
void* allocate_memory(Device device, std::int64_t size_bytes);
void free_memory(Device device, void* memory, std::int64_t size_bytes) noexcept;

/// Where the bytes of a copy go, and where they come from.
struct MemoryPlace {
  void* data = nullptr;
  Device device;
};
struct MemorySource {
  const void* data = nullptr;
  Device device;
};
/// to = from. Comes after all work that was given to the devices before, on any stream, and is done on return.
void copy_memory(const MemoryPlace& to, const MemorySource& from, std::int64_t size_bytes);

/// Host memory that copies to and from `device` run fastest with: page-locked for a CUDA device.
class HostBuffer {
 public:
  HostBuffer() = default;
  /// Throws Error when there is none left.
  HostBuffer(Device device, std::int64_t size_bytes);
  ~HostBuffer();
  HostBuffer(HostBuffer&& other) noexcept;
  HostBuffer& operator=(HostBuffer&& other) noexcept;
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;

  std::byte* data() const { return data_; }
  std::int64_t size_bytes() const { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::int64_t size_bytes_ = 0;
  Device device_;
};

}  // namespace baekji
