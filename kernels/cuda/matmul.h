#pragma once
// Matrix products on the GPU through cuBLASLt.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/queue.h"
#include "kernels/kernels.h"

namespace baekji::cuda {

/// One problem (shapes, leading dimensions, types, transposes, accumulation) has one algorithm for the life of a build:
/// no split of the inner dim, no atomics, no stream-K, so that the same problem gives the same bits in every layout.
/// kernels/cuda/matmul_algorithms.h says how it is chosen.
///
/// Calls of one queue share a workspace, which is safe since they run one after another. The first call of a problem
/// asks the library, on the host; later ones allocate nothing and only start the product.
class CudaMatmul {
 public:
  /// With the table of algorithms that the program was built with. Throws Error when there is no memory for the
  /// workspace.
  explicit CudaMatmul(Queue& queue);
  /// With another table (text, as algorithms() writes it).
  CudaMatmul(Queue& queue, std::string_view table);
  ~CudaMatmul();
  CudaMatmul(const CudaMatmul&) = delete;
  CudaMatmul& operator=(const CudaMatmul&) = delete;

  /// bf16, fp32 (no TF32) or 8-bit operands, fp32 accumulation, bf16 or fp32 results. 8-bit operands: e4m3 x e4m3 or
  /// one of the two e5m2; a [M, Inner] and b [N, Inner] with transpose_b, rows and Inner in whole pieces of 16 bytes.
  /// Throws Error on shapes or types that do not go together, and when the library has no algorithm that the contract
  /// can have.
  void run(const MatmulArgs& args);

  /// Library version, and how algorithms are chosen, for the kernel set.
  std::string describe() const;
  /// The algorithm of every problem so far: the lines of a table, each with its end of line.
  std::string algorithms() const;

  /// What a benchmark measures to make a table. Nothing else calls it, and it does not change what run() does.
  struct TimedAlgorithm {
    std::string line;  ///< of a table
    double microseconds = 0;
  };
  /// Every proposal of the library that the contract can have, with the time of the fastest of `rounds` runs. c is
  /// overwritten or accumulated into many times over. Waits for the device.
  std::vector<TimedAlgorithm> time_algorithms(const MatmulArgs& args, int rounds);

  /// The library's workspace.
  std::int64_t scratch_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baekji::cuda
