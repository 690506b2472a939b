#pragma once
// A step of a job of any size without its ranks: `train --dry-run --ranks N`.

#include <cstdint>
#include <string>
#include <vector>

#include "core/arena.h"
#include "parallel/rank_groups.h"
#include "trainer/experiment.h"
#include "trainer/memory_plan.h"

namespace baekji {

/// Ranks that make the same calls and hold the same.
struct RankKind {
  MeshCoordinate first;  ///< the lowest of them
  std::int64_t ranks = 0;
  std::int64_t calls = 0;         ///< in a step of the first training stage
  AxisTraffic step;               ///< bytes that each sends in a step
  std::int64_t memory_bytes = 0;  ///< planned
};

struct Rehearsal {
  std::int64_t ranks = 0;
  std::vector<RankKind> kinds;
  std::vector<std::size_t> kind_of_rank;
  std::int64_t calls_played = 0;  ///< of all ranks, from the first weights to the end of a step of each training stage
  /// Sizes of the groups along an axis: how many there are, and of how many ranks.
  struct Axis {
    std::string name;
    std::int64_t groups = 0;
    std::int64_t ranks = 0;
    std::int64_t AxisTraffic::*sent_bytes = nullptr;
  };
  std::vector<Axis> axes;
  MemoryPlan largest;  ///< the memory of the rank that holds the most
  MeshCoordinate largest_at;

  std::string describe(const Mesh& mesh) const;
};

/// Makes every rank's groups, shards, schedule and memory plan, runs the engine's step of each kind of rank (and
/// training stage) on communicators that record, and plays all ranks' calls together (parallel/call_check.h). Throws
/// when `ranks` is not what the mesh has, or the calls do not fit together.
Rehearsal rehearse(const Experiment& experiment, std::int64_t ranks, std::int64_t program_bytes);

}  // namespace baekji
