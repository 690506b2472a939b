#include "kernels/cuda/rows.cuh"

namespace baekji::cuda {
namespace {

// One column per thread. The loads of a column do not depend on its sum, so many are under way.
__global__ void add_blocks(const float* sums, std::int64_t blocks, std::int64_t width, float* total) {
  const std::int64_t column = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (column >= width) return;
  float sum = total[column];
#pragma unroll 16
  for (std::int64_t b = 0; b < blocks; ++b) sum = sum + sums[b * width + column];
  total[column] = sum;
}

}  // namespace

void add_block_sums(const float* sums, std::int64_t blocks, std::int64_t width, float* total, cudaStream_t stream) {
  if (blocks == 0) return;
  constexpr unsigned kThreads = 64;  // few columns: spread them over many multiprocessors
  launch({.grid = blocks_for(width, kThreads), .block = kThreads}, stream, "add_block_sums", add_blocks, sums, blocks,
         width, total);
}

}  // namespace baekji::cuda
