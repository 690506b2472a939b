#pragma once
// The kernels of a rank, on the device that [layout] names, and what is asked of that device before a run.

#include <memory>

#include "core/arena.h"
#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "parallel/launch.h"
#include "parallel/mesh.h"
#include "proof/kernel_set.h"
#include "trainer/experiment.h"

namespace baekji {

/// layout.device = "cuda": on the GPU that is this rank's share of its machine, which becomes this thread's; ranks
/// share GPUs where they are more. Throws when there is none, or none that will do. `pool` outlives the kernels.
std::unique_ptr<Kernels> make_kernels(const LayoutConfig& layout, ThreadPool& pool, const MachineShare& machine);
/// The same for planning memory: needs no GPU, and computes nothing on one.
std::unique_ptr<Kernels> make_planning_kernels(const LayoutConfig& layout, ThreadPool& pool);

/// The kernel set of these kernels on this machine.
KernelSet kernel_set_of(const Kernels& kernels);

/// FLOP/s of this device for the matrix products of the experiment's precision; 0 unless log.measure_ceiling.
double measure_ceiling(const Experiment& experiment, const Kernels& kernels, ThreadPool& pool);

/// What is taken of the GPU, as this rank's part where several share it; 0 on the CPU.
std::int64_t device_bytes_taken(const Kernels& kernels, const MachineShare& machine);

/// Throws unless the device has room for `planned` on each of this machine's ranks that share it, and names a layout
/// that would fit, if one does. The host is not asked: it has swap, and tells on its own.
void require_device_memory(const Experiment& experiment, const Kernels& kernels, const Arena& planned,
                           const MachineShare& machine);

}  // namespace baekji
