#include "trainer/memory_plan.h"

#include <algorithm>
#include <thread>

#include "trainer/engine.h"
#include "trainer/layout.h"

namespace baekji {
namespace {

// Stores are read in place: the pages of their files that training has touched count as the process's memory, although
// the system may take them back at any time. At most all of a store, and at most what the steps read, with the pages
// around it that Linux maps with a touched one.
std::int64_t mapped_bytes(const Experiment& e, std::span<const TokenStore> stores) {
  constexpr std::int64_t kAroundBytes = std::int64_t{64} << 10;  // fault_around_bytes
  std::int64_t total = 0;
  for (const TokenStore& store : stores) {
    const std::int64_t width = token_width_bytes(store.vocabulary());
    std::int64_t read_bytes = 0;
    for (const TrainingStage& stage : e.stages) {
      const std::int64_t sequences = e.run.steps * stage.global_batch;
      read_bytes = std::max(read_bytes, sequences * (stage.context * width + kAroundBytes));
    }
    total += std::min(store.tokens() * width, read_bytes) + 8 * store.info().documents;
  }
  return total;
}

// HDF5's account of an open file and the piece of it that is hashed: 6 MiB beside a shard of 100 MB, 8 beside 600 MB.
constexpr std::int64_t kWriterBytes = std::int64_t{6} << 20;

// What the rank answers for, and saves.
std::int64_t answered_bytes(const Experiment& e, Kernels& kernels, const MeshCoordinate& at) {
  Arena arena(Arena::Mode::kMeasure);
  const ModelParameters declared = declare_parameters(e.model, e.numerics.tensor_grains);
  const ParameterStore parameters(store_args(e, declared, at, nullptr), kernels, arena);
  std::int64_t total = 0;
  for (const ParameterSlice& part : parameters.owned()) {
    const std::int64_t array_bytes = round_up(part.count * size_of(DType::kFloat32), Arena::kAlignmentBytes);
    if (answers_for(e, at, part)) total += std::ssize(kStateKinds) * array_bytes;
  }
  return total;
}

}  // namespace

std::string MemoryPlan::table() const {
  if (!host) return memory_table(*device);
  return memory_table(*device) + "beside it on the host\n" + memory_table(*host);
}

MemoryPlan memory_plan(const Experiment& e, Kernels& kernels, const MemoryPlanArgs& args) {
  MemoryPlan plan{.device = Engine::plan(e, kernels, args.at), .host = nullptr};
  if (!kernels.device().is_host()) {
    plan.device->note("CUDA context and libraries", args.context_bytes);
    plan.host = std::make_unique<Arena>(Arena::Mode::kMeasure);
  }
  Arena& host = plan.host ? *plan.host : *plan.device;
  if (!args.stores.empty()) host.note("token stores (mapped)", mapped_bytes(e, args.stores));
  const std::int64_t saved_bytes = answered_bytes(e, kernels, args.at);
  if (saved_bytes > 0) host.note("checkpoint writer", kWriterBytes);
  if (saved_bytes > 0 && e.run.saves_beside_training()) host.note("checkpoint snapshot", saved_bytes);
  host.note("program and libraries", args.program_bytes);
  return plan;
}

int thread_count(const LayoutConfig& layout, int ranks_on_machine) {
  if (layout.threads > 0) return narrow<int>(layout.threads);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / ranks_on_machine);
}

}  // namespace baekji
