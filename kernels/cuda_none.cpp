// The CUDA kernels in a build without the CUDA toolkit.

#include "core/error.h"
#include "kernels/cuda/ceiling.h"
#include "kernels/kernels.h"

namespace baekji {
namespace {

[[noreturn]] void refuse(Device device) {
  throw Error("this build of baekji has no CUDA")
      .values("layout.device = \"cpu\"", "\"cuda\"")
      .at(device.describe())
      .hint("install the CUDA toolkit (scripts/setup --cuda) and configure again; CMake says what it found");
}

}  // namespace

std::unique_ptr<Kernels> make_cuda_kernels(Device device) {
  refuse(device);
}
double measure_matmul_ceiling(Device device, DType /*type*/, std::int64_t /*size*/) {
  refuse(device);
}
double measure_copy_bandwidth(Device device, std::int64_t /*size_bytes*/) {
  refuse(device);
}

}  // namespace baekji
