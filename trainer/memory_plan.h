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
  std::int64_t program_bytes = 0;      ///< what the process took of the host before anything was bound
  std::int64_t context_bytes = 0;      ///< and of a GPU
  std::span<const TokenStore> stores;  ///< empty: not counted
  MeshCoordinate at;
};
/// Measuring arenas with everything that the rank will hold: the table printed before step 1.
struct MemoryPlan {
  std::unique_ptr<Arena> device;  ///< where the tensors are; on the CPU all memory there is
  std::unique_ptr<Arena> host;    ///< beside a GPU; null on the CPU

  /// One table, or two.
  std::string table() const;
};
MemoryPlan memory_plan(const Experiment& experiment, Kernels& kernels, const MemoryPlanArgs& args);

/// Threads of a rank: [layout] threads, or its share of this machine's.
int thread_count(const LayoutConfig& layout, int ranks_on_machine);

}  // namespace baekji
