#include "checkpoint/state_snapshot.h"

#include <algorithm>

namespace baekji {
namespace {

// 1 MiB: long enough for the full rate of the memory, short enough to share among threads.
constexpr std::int64_t kPieceElements = std::int64_t{1} << 18;

}  // namespace

StateSnapshot::StateSnapshot(std::span<const StateShard> owned, ThreadPool& pool)
    : shards_(owned.begin(), owned.end()) {
  for (StateShard& shard : shards_) {
    for (float*& values : shard.values) {
      const float* const from = values;
      values = arena_.allocate("checkpoint snapshot", DType::kFloat32, {shard.count}).as<float>();
      for (std::int64_t begin = 0; begin < shard.count; begin += kPieceElements) {
        const std::int64_t count = std::min(kPieceElements, shard.count - begin);
        pieces_.push_back(
            {.from = {.data = from + begin, .device = shard.device}, .to = values + begin, .count = count});
      }
    }
    shard.device = {};
  }
  take(pool);
}

void StateSnapshot::take(ThreadPool& pool) {
  pool.run(static_cast<std::int64_t>(pieces_.size()), [&](std::int64_t i) {
    const Piece& piece = pieces_[static_cast<std::size_t>(i)];
    copy_memory({.data = piece.to}, piece.from, piece.count * static_cast<std::int64_t>(sizeof(float)));
  });
}

}  // namespace baekji
