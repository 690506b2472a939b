#pragma once
// DeviceStaging: copies of tensors in memory that a communicator reads and writes itself: page-locked memory of the
// host for tensors of a GPU where ranks talk over MPI or in one process, memory of the GPU for tensors of the host
// where NCCL is all there is.

#include <cstdint>
#include <deque>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"

namespace baekji {

/// Memory is kept and grows only, so that nothing is allocated once the largest tensors of a step have come by. Copies
/// come after all work that the device has been given before, and are done on return (copy_memory).
class DeviceStaging {
 public:
  /// A tensor like `original` at `place`, with its values; valid until the next input().
  Tensor input(const Tensor& original, Device place);
  /// The same with unspecified values; valid until the next output().
  Tensor output(const Tensor& original, Device place);
  /// original = copy
  static void copy(const Tensor& from, const Tensor& to);

  /// Like input(), valid until sends_finished() lets it go.
  Tensor sending(const Tensor& original, Device place);
  /// A send of a tensor that needs no copy: counted, so that sends_finished() knows which are the oldest.
  void sending_itself() { sent_.push_back({}); }
  /// At most the `under_way` newest sends still read their copies.
  void sends_finished(std::size_t under_way);

 private:
  // Memory at one place: page-locked, or a device's own.
  class Room {
   public:
    Room() = default;
    /// For a copy of a tensor of `other`.
    Room(Device place, Device other, std::int64_t size_bytes);
    ~Room();
    Room(Room&& room) noexcept { swap(room); }
    Room& operator=(Room&& room) noexcept {
      swap(room);
      return *this;
    }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;

    void* data() const { return place_.is_host() ? host_.data() : device_data_; }
    std::int64_t size_bytes() const { return size_bytes_; }
    bool fits(Device place, std::int64_t size_bytes) const { return place == place_ && size_bytes <= size_bytes_; }

   private:
    void swap(Room& room) noexcept;
    Device place_;
    std::int64_t size_bytes_ = 0;
    HostBuffer host_;
    void* device_data_ = nullptr;
  };
  static Tensor in_room(Room& room, const Tensor& original, Device place);
  Room take_spare(const Tensor& original, Device place);

  Room input_;
  Room output_;
  std::deque<Room> sent_;    // by send, the oldest first; empty for one that needed no copy
  std::vector<Room> spare_;  // of sends that are finished
};

}  // namespace baekji
