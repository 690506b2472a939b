#include "kernels/cuda/document_bias.h"

#include "kernels/cuda/launch.cuh"

namespace baekji::cuda {
namespace {

constexpr unsigned kThreads = 256;

// A query to a block.
__global__ void __launch_bounds__(kThreads)
    document_bias_kernel(const std::int32_t* first, std::int64_t sequence, std::int64_t tokens, Bfloat16* bias) {
  const std::int64_t query = blockIdx.x;
  const std::int32_t least = first[query / tokens * sequence + query % tokens];
  Bfloat16* const row = bias + query * tokens;
  for (std::int64_t key = threadIdx.x; key < tokens; key += kThreads) {
    row[key] = Bfloat16(key < least ? kHiddenBias : 0.0F);
  }
}

}  // namespace

void write_document_bias(const Tensor& first_BT, Bfloat16* bias_BTT, Queue& queue) {
  launch({.grid = dim3(narrow<unsigned>(first_BT.size())), .block = dim3(kThreads)}, queue.stream(), "document bias",
         document_bias_kernel, static_cast<const std::int32_t*>(first_BT.device_as<std::int32_t>()), first_BT.stride(0),
         first_BT.dim(1), bias_BTT);
}

}  // namespace baekji::cuda
