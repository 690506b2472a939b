#include "kernels/cpu/matmul_scratch.h"

#include <cstdlib>
#include <thread>

#include "core/error.h"
#include "core/types.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace baekji::cpu {
namespace {

constexpr std::int64_t kPageBytes = 4096;
constexpr std::int64_t kHugePageBytes = std::int64_t{2} << 20;

std::int64_t alignment_of(std::int64_t size_bytes) {
  return size_bytes >= kHugePageBytes ? kHugePageBytes : kPageBytes;
}

}  // namespace

std::int64_t aligned_size_bytes(std::int64_t size_bytes) {
  return round_up(size_bytes, alignment_of(size_bytes));
}

void AlignedBuffer::Free::operator()(std::byte* data) const {
  std::free(data);
}

void AlignedBuffer::reserve(std::int64_t size_bytes) {
  if (size_bytes <= size_bytes_) return;
  const std::int64_t alignment = alignment_of(size_bytes);
  const std::int64_t rounded = aligned_size_bytes(size_bytes);
  data_.reset();
  size_bytes_ = 0;
  auto* data = static_cast<std::byte*>(
      std::aligned_alloc(static_cast<std::size_t>(alignment), static_cast<std::size_t>(rounded)));
  if (data == nullptr) {
    throw Error("no memory left for kernel scratch").values(fmt::format("{} bytes", rounded), "refused by the system");
  }
#if defined(__linux__)
  // A packed weight is walked with large strides; huge pages spare the translation misses. Advice only: may fail.
  if (alignment == kHugePageBytes) (void)madvise(data, static_cast<std::size_t>(rounded), MADV_HUGEPAGE);
#endif
  data_.reset(data);
  size_bytes_ = rounded;
}

void TaskScratch::reserve(std::int64_t block_bytes) {
  for (Slot& slot : slots_) slot.buffer.reserve(block_bytes);
}

std::int64_t TaskScratch::size_bytes() const {
  std::int64_t total = 0;
  for (const Slot& slot : slots_) total += slot.buffer.size_bytes();
  return total;
}

TaskScratch::Lease::Lease(TaskScratch& scratch) : scratch_(scratch) {
  // A pool runs at most as many tasks at once as there are slots, so one is free or about to be.
  while (scratch_.slots_[slot_].taken.exchange(true, std::memory_order_acquire)) {
    slot_ = (slot_ + 1) % scratch_.slots_.size();
    if (slot_ == 0) std::this_thread::yield();
  }
}

TaskScratch::Lease::~Lease() {
  scratch_.slots_[slot_].taken.store(false, std::memory_order_release);
}

std::byte* TaskScratch::Lease::data() const {
  return scratch_.slots_[slot_].buffer.data();
}

}  // namespace baekji::cpu
