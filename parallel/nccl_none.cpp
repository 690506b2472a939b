// parallel/communicator_nccl.h in a build without the CUDA toolkit.

#include "parallel/communicator_nccl.h"

namespace baekji {
namespace {

[[noreturn]] void refuse(Device device) {
  throw Error("this build of baekji has no NCCL")
      .values("layout.communicator = \"mpi\"", "\"nccl\"")
      .at(device.describe())
      .hint("install the CUDA toolkit (scripts/setup --cuda) and configure again; CMake says what it found");
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(NcclOptions options) {
  refuse(options.device);
}
std::string ranks_that_share_a_gpu(Communicator& /*world*/, Device device, const CommunicatorWatch& /*watch*/) {
  refuse(device);
}

}  // namespace baekji
