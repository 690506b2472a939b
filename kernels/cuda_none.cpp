// make_cuda_kernels in a build without the CUDA toolkit.

#include "core/error.h"
#include "kernels/kernels.h"

namespace baekji {

std::unique_ptr<Kernels> make_cuda_kernels(Device device) {
  throw Error("this build of baekji has no CUDA")
      .values("layout.device = \"cpu\"", "\"cuda\"")
      .at(device.describe())
      .hint("install the CUDA toolkit (scripts/setup --cuda) and configure again; CMake says what it found");
}

}  // namespace baekji
