#pragma once
// How a process joins the job that [layout] describes, and what its ranks talk over.

#include <memory>
#include <optional>

#include "kernels/kernels.h"
#include "parallel/communicator.h"
#include "parallel/launch.h"
#include "trainer/experiment.h"

namespace baekji {

/// Who this process is where [layout] goes without MPI; nothing where MPI says it.
std::optional<JobRank> rank_without_mpi(const LayoutConfig& layout);

/// All ranks of the job, over what layout.communicator says. With "auto" ranks that have a GPU each talk over NCCL, and
/// ranks that share one, or have none, over MPI. Collective. Throws Error when ranks cannot talk so.
std::unique_ptr<Communicator> make_world(const LayoutConfig& layout, const Launch& launch,
                                         const std::shared_ptr<CommunicatorWatch>& watch);

/// `kernels`, with `world` (which outlives them) following their stream, and looked after while the host waits for
/// them.
std::unique_ptr<Kernels> tied_to(Communicator& world, std::unique_ptr<Kernels> kernels);

}  // namespace baekji
