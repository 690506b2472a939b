#pragma once
// How kernels are started. No chevrons: the same sources compile for the CPU, where tests run them.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/cuda_check.h"
#include "core/types.h"

namespace baekji::cuda {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::int64_t shared_bytes = 0;  ///< dynamic; over 48 KiB only after allow_shared_bytes()
};

/// Starts `kernel` on `stream`; an empty grid starts nothing. Throws on an impossible shape; what goes wrong while it
/// runs shows in a later call.
template <class... Parameters, class... Arguments>
void launch(const LaunchShape& shape, cudaStream_t stream, const char* name, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes);
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name);
}

/// A kernel may use up to 227 KiB of dynamic shared memory on Hopper and Blackwell, but has to ask.
template <class Kernel>
void allow_shared_bytes(Kernel* kernel, std::int64_t bytes, const char* name) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), name);
}

inline unsigned blocks_for(std::int64_t items, std::int64_t items_per_block) {
  return narrow<unsigned>(ceil_div(items, items_per_block));
}

/// The block's dynamic shared memory, as T.
template <class T>
__device__ T* dynamic_shared() {
  alignas(128) extern __shared__ std::byte dynamic_shared_bytes[];
  return static_cast<T*>(static_cast<void*>(dynamic_shared_bytes));
}

}  // namespace baekji::cuda
