// core/device_cuda.h in a build without the CUDA toolkit.

#include "core/device_cuda.h"
#include "core/error.h"

namespace baekji {
namespace {

[[noreturn]] void refuse() {
  throw Error("this build of baekji has no CUDA")
      .values("layout.device = \"cpu\"", "\"cuda\"")
      .hint("install the CUDA toolkit (scripts/setup --cuda) and configure again; CMake says what it found");
}

}  // namespace

bool built_with_cuda() {
  return false;
}
int cuda_device_count() {
  return 0;
}
CudaInfo cuda_info(Device /*device*/) {
  refuse();
}
Device select_cuda_device(int /*local_rank*/) {
  refuse();
}
void* cuda_allocate(Device /*device*/, std::int64_t /*size_bytes*/) {
  refuse();
}
void cuda_free(Device /*device*/, void* /*memory*/) noexcept {}
void* cuda_allocate_host(Device /*device*/, std::int64_t /*size_bytes*/) {
  refuse();
}
void cuda_free_host(void* /*memory*/) noexcept {}
void cuda_copy(const MemoryPlace& /*to*/, const MemorySource& /*from*/, std::int64_t /*size_bytes*/) {
  refuse();
}

}  // namespace baekji
