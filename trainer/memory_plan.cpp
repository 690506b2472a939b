#include "trainer/memory_plan.h"

#include <algorithm>
#include <thread>

#include "trainer/engine.h"

namespace baekji {
namespace {

// Stores are read in place: the pages of their files that training has touched count as the process's memory, although
// the system may take them back at any time. At most all of a store, and at most what the steps read.
std::int64_t mapped_bytes(const Experiment& e, std::span<const TokenStore> stores) {
  std::int64_t tokens_read = 0;
  for (const TrainingStage& stage : e.stages) {
    tokens_read = std::max(tokens_read, e.run.steps * stage.global_batch * stage.context);
  }
  std::int64_t total = 0;
  for (const TokenStore& store : stores) {
    const std::int64_t offsets_bytes = 8 * store.info().documents;
    total += std::min(store.tokens(), tokens_read) * token_width_bytes(store.vocabulary()) + offsets_bytes;
  }
  return total;
}

// A copy of what a rank answers for (Engine::owned_shards), which is all that its optimizer holds but for what tensor
// ranks have in common: three arrays where the moments are two.
std::int64_t snapshot_bytes(const Arena& plan) {
  std::int64_t moments_bytes = 0;
  for (const Arena::Row& row : plan.rows()) {
    if (row.category == "optimizer moments") moments_bytes += row.size_bytes;
  }
  return moments_bytes / 2 * 3;
}

}  // namespace

std::unique_ptr<Arena> memory_plan(const Experiment& e, Kernels& kernels, const MemoryPlanArgs& args) {
  std::unique_ptr<Arena> plan = Engine::plan(e, kernels, args.at);
  if (!args.stores.empty()) plan->note("token stores (mapped)", mapped_bytes(e, args.stores));
  const bool saves = args.at.data == 0 || e.layout.zero > 0;
  if (e.run.saves_beside_training() && saves) plan->note("checkpoint snapshot", snapshot_bytes(*plan));
  plan->note("program and libraries", args.program_bytes);
  return plan;
}

int thread_count(const LayoutConfig& layout, int ranks_on_machine) {
  if (layout.threads > 0) return narrow<int>(layout.threads);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / ranks_on_machine);
}

}  // namespace baekji
