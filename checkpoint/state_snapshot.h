#pragma once
// StateSnapshot: a copy of this process's part of the state, to be hashed and written while training changes the
// original.

#include <cstdint>
#include <span>
#include <vector>

#include "core/arena.h"
#include "core/logical_tensor.h"
#include "core/thread_pool.h"

namespace baekji {

class StateSnapshot {
 public:
  /// Takes the memory ("checkpoint snapshot": 12 bytes for each element, every array aligned) and copies once, so that
  /// its pages are there before the first save. The arrays of `owned` stay where they are for the life of the object.
  StateSnapshot(std::span<const StateShard> owned, ThreadPool& pool);

  /// Overwrites the copy with the arrays as they are now.
  void take(ThreadPool& pool);
  /// The copy, in the order of `owned`.
  std::span<const StateShard> shards() const { return shards_; }
  std::int64_t size_bytes() const { return arena_.total_bytes(); }

 private:
  struct Piece {
    MemorySource from;
    float* to = nullptr;
    std::int64_t count = 0;
  };

  Arena arena_{Arena::Mode::kAllocate};
  std::vector<StateShard> shards_;
  std::vector<Piece> pieces_;
};

}  // namespace baekji
