#include "trainer/job.h"

#include <utility>

#include "core/device_cuda.h"
#include "parallel/communicator_mpi.h"
#include "parallel/communicator_nccl.h"

namespace baekji {

std::optional<JobRank> rank_without_mpi(const LayoutConfig& layout) {
  if (layout.meets_by_mpi()) return std::nullopt;
  return rank_from_environment();
}

std::unique_ptr<Communicator> make_world(const LayoutConfig& layout, const Launch& launch,
                                         const std::shared_ptr<CommunicatorWatch>& watch) {
  const bool nccl = layout.communicator == "nccl";
  if (launch.size() == 1 && !nccl) return make_self_communicator();
  const auto device = [&] { return select_cuda_device(launch.machine().rank); };
  if (!layout.meets_by_mpi()) {
    const JobRank here{.rank = narrow<int>(launch.rank()), .size = narrow<int>(launch.size())};
    const auto share = [&](const std::string& blob) {
      return share_blob({.place = layout.rendezvous, .here = here, .limit_s = watch->limit_s}, blob);
    };
    return make_nccl_communicator({.here = here, .share = share, .device = device(), .watch = watch});
  }
  auto world = make_mpi_communicator({.watch = watch});
  if (layout.device != "cuda" || layout.communicator == "mpi") return world;
  if (!nccl && !ranks_that_share_a_gpu(*world, device(), *watch).empty()) return world;
  return make_nccl_communicator({.host = std::move(world), .device = device(), .watch = watch});
}

std::unique_ptr<Kernels> tied_to(Communicator& world, std::unique_ptr<Kernels> kernels) {
  world.follow(kernels->stream());
  kernels->poll_while_waiting([&world](double waited_s) { world.check_ranks(waited_s); });
  return kernels;
}

}  // namespace baekji
