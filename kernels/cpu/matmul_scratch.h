#pragma once
// Memory of the CPU kernels outside the arenas: aligned buffers that only ever grow, and one block of them per thread.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace baekji::cpu {

/// Uninitialised memory on page boundaries, kept until the buffer goes; large ones ask the system for huge pages.
class AlignedBuffer {
 public:
  /// At least `size_bytes`; the contents are lost when it grows. Throws Error when the system has no memory left.
  void reserve(std::int64_t size_bytes);
  std::byte* data() const { return data_.get(); }
  std::int64_t size_bytes() const { return size_bytes_; }

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  std::unique_ptr<std::byte, Free> data_;
  std::int64_t size_bytes_ = 0;
};

/// What AlignedBuffer::reserve really takes for a request of `size_bytes`.
std::int64_t aligned_size_bytes(std::int64_t size_bytes);

/// One block of working memory for each thread of a pool, borrowed for the length of a task. Which task gets which
/// block changes from run to run, so nothing may be carried over in it.
class TaskScratch {
 public:
  explicit TaskScratch(int threads) : slots_(static_cast<std::size_t>(threads)) {}

  /// Makes every block at least this large. Not while tasks run.
  void reserve(std::int64_t block_bytes);
  std::int64_t size_bytes() const;

  class Lease {
   public:
    explicit Lease(TaskScratch& scratch);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    std::byte* data() const;

   private:
    TaskScratch& scratch_;
    std::size_t slot_ = 0;
  };

 private:
  struct Slot {
    std::atomic<bool> taken{false};
    AlignedBuffer buffer;
  };
  std::vector<Slot> slots_;
};

}  // namespace baekji::cpu
