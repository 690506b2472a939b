#pragma once
// What ranks planned to take of their machines' memory, and what they took.

#include <cstdint>
#include <vector>

#include "parallel/rank_groups.h"

namespace baekji {

struct RankMemory {
  MeshCoordinate at;
  std::int64_t planned_bytes = 0;
  std::int64_t peak_bytes = 0;  ///< at most, so far: resident, or of the GPU
};

/// Of every rank, in rank order. Collective on the world.
std::vector<RankMemory> gather_memory(const RankGroups& ranks, const RankMemory& mine);

/// A line for people: the rank that took the most, and how well the plans fit.
std::string memory_line(const std::vector<RankMemory>& ranks);

}  // namespace baekji
