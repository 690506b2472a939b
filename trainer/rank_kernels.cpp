#include "trainer/rank_kernels.h"

#include <algorithm>

#include "core/device_cuda.h"
#include "kernels/cpu/ceiling.h"
#include "kernels/cuda/ceiling.h"
#include "kernels/cuda_planning.h"
#include "kernels/silent_kernels.h"
#include "trainer/engine.h"

namespace baekji {
namespace {

// The first layout, from what changes least, whose largest rank takes at most `room_bytes`; empty: none does.
std::string layout_that_fits(const Experiment& experiment, Kernels& kernels, std::int64_t room_bytes) {
  for (const char* recompute : {"none", "selective", "full"}) {
    for (std::int64_t tensor = experiment.layout.tensor; tensor <= experiment.numerics.tensor_grains; tensor *= 2) {
      for (std::int64_t pipeline = experiment.layout.pipeline; pipeline <= experiment.model.layers; pipeline *= 2) {
        Experiment other = experiment;
        other.layout.recompute = recompute;
        other.layout.tensor = tensor;
        other.layout.pipeline = pipeline;
        try {
          if (Engine::plan(other, kernels)->total_bytes() <= room_bytes)
            return fmt::format("recompute = \"{}\", tensor = {}, pipeline = {}", recompute, tensor, pipeline);
        } catch (const Error&) {
          continue;  // a layout that cannot be
        }
      }
    }
  }
  return {};
}

// Ranks of this machine that use this rank's GPU.
std::int64_t sharers_of_device(const MachineShare& machine) {
  const int devices = std::max(cuda_device_count(), 1);
  return ceil_div(machine.ranks - machine.rank % devices, devices);
}

}  // namespace

std::int64_t device_bytes_taken(const Kernels& kernels, const MachineShare& machine) {
  if (kernels.device().is_host()) return 0;
  const CudaInfo info = cuda_info(kernels.device());
  return (info.memory_bytes - info.free_bytes) / sharers_of_device(machine);
}

std::unique_ptr<Kernels> make_kernels(const LayoutConfig& layout, ThreadPool& pool, const MachineShare& machine) {
  if (layout.device == "cpu") return make_cpu_kernels(pool);
  return make_cuda_kernels(select_cuda_device(machine.rank));
}

std::unique_ptr<Kernels> make_planning_kernels(const LayoutConfig& layout, ThreadPool& pool) {
  if (layout.device == "cpu") return std::make_unique<SilentKernels>(make_cpu_kernels(pool));
  return make_cuda_planning_kernels();
}

KernelSet kernel_set_of(const Kernels& kernels) {
  KernelSet set = cpu_kernel_set({{"kernels", kernels.describe()}});
  if (kernels.device().is_host()) return set;
  const CudaInfo info = cuda_info(kernels.device());
  set.device = "cuda";
  set.processor = info.name;
  set.instruction_set = fmt::format("sm_{}{}", info.major, info.minor);
  return set;
}

double measure_ceiling(const Experiment& experiment, const Kernels& kernels, ThreadPool& pool) {
  if (!experiment.log.measure_ceiling) return 0;
  const DType type = multiplied_type(element_types(experiment.numerics));
  if (kernels.device().is_host()) return measure_matmul_ceiling(pool, type);
  return measure_matmul_ceiling(kernels.device(), type);
}

void require_device_memory(const Experiment& experiment, const Kernels& kernels, const Arena& planned,
                           const MachineShare& machine) {
  if (kernels.device().is_host()) return;
  const std::int64_t sharers = sharers_of_device(machine);
  const CudaInfo info = cuda_info(kernels.device());
  // The plan counts what was taken before it.
  const std::int64_t room = info.free_bytes / sharers + device_bytes_taken(kernels, machine);
  if (planned.total_bytes() <= room) return;
  const auto planning = make_cuda_planning_kernels();
  const std::string fits = layout_that_fits(experiment, *planning, room);
  throw Error("the GPU has too little memory for this rank")
      .values(format_bytes(planned.total_bytes()),
              fmt::format("{} free of {} on {} ({}), for each of {} ranks", format_bytes(room),
                          format_bytes(info.memory_bytes), kernels.device().describe(), info.name, sharers))
      .at("planned memory (`baekji train --dry-run` prints it)")
      .hint(fits.empty()
                ? "no layout of these numerics fits such a GPU: use a smaller micro_batch, or zero with more data ranks"
                : "this would fit: [layout] " + fits);
}

}  // namespace baekji
