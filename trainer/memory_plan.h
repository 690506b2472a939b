#pragma once
// The memory that a rank will take, before it takes any.

#include <cstdint>
#include <memory>
#include <span>

#include "core/arena.h"
#include "data/token_store.h"
#include "kernels/kernels.h"
#include "parallel/mesh.h"
#include "trainer/experiment.h"

namespace baekji {

struct MemoryPlanArgs {
  std::int64_t program_bytes = 0;      ///< what the process took before anything was bound
  std::span<const TokenStore> stores;  ///< empty: not counted
  MeshCoordinate at;
};
/// A measuring arena with everything that the rank will hold: the table printed before step 1.
std::unique_ptr<Arena> memory_plan(const Experiment& experiment, Kernels& kernels, const MemoryPlanArgs& args);

/// Threads of a rank: [layout] threads, or its share of this machine's.
int thread_count(const LayoutConfig& layout, int ranks_on_machine);

}  // namespace baekji
