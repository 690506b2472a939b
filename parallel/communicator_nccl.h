#pragma once
// Communicators over NCCL: ranks that have a GPU each. Without the CUDA toolkit a stub (parallel/nccl_none.cpp).

#include <functional>
#include <memory>
#include <string>

#include "core/device.h"
#include "parallel/communicator.h"
#include "parallel/rendezvous.h"

namespace baekji {

struct NcclOptions {
  /// All ranks of the job; carries tensors of the host and the checks before the start. Null: NCCL carries those
  /// tensors too, by way of the GPU, and `here` and `share` say how the ranks find each other.
  std::unique_ptr<Communicator> host;
  JobRank here;
  /// Gives every rank what rank 0 calls it with (share_blob). Collective.
  std::function<std::string(const std::string& blob)> share;
  Device device;                             ///< this rank's GPU, which no other rank uses
  void* compute_stream = nullptr;            ///< Kernels::stream(); Communicator::follow() sets it later
  std::shared_ptr<CommunicatorWatch> watch;  ///< null: a new one
};

/// All ranks of the job. Tensors of `device` go through NCCL, on a stream of each group's own that waits for the
/// compute stream and that the compute stream waits for; the host does not wait for the device. Tensors of the host go
/// through `host`. Collective. Throws Error when this build has no NCCL or too old a one, when two ranks use one GPU,
/// and when NCCL does not start within CommunicatorWatch::limit_s.
std::unique_ptr<Communicator> make_nccl_communicator(NcclOptions options);

/// Which ranks of `world` use one GPU, as "rank 0 and rank 1"; empty when each has its own. Collective.
std::string ranks_that_share_a_gpu(Communicator& world, Device device, const CommunicatorWatch& watch);

}  // namespace baekji
