#pragma once
// The one way in which a failed call of the CUDA runtime becomes an Error. Only for sources that need the toolkit.

#include <cuda_runtime.h>

#include <string>

#include "core/error.h"

namespace baekji {

/// Throws unless `code` is success; `what` names the call and, where it helps, its object.
inline void check_cuda(cudaError_t code, const std::string& what) {
  if (code == cudaSuccess) return;
  throw Error(fmt::format("CUDA failed in {}", what))
      .values("cudaSuccess", fmt::format("{} ({})", cudaGetErrorName(code), cudaGetErrorString(code)))
      .hint("an error of an earlier kernel may show here first; the last checkpoint stands");
}

}  // namespace baekji
