#pragma once
// The rotary tables: cos and sin of position * theta^(-2i / D), in fp64 without libm, rounded once.

#include "core/arena.h"
#include "kernels/kernels.h"

namespace baekji {

struct RopeTable {
  Tensor cos_PE;  ///< [positions, D / 2]
  Tensor sin_PE;

  struct Shape {
    DType type = DType::kFloat32;  ///< the accumulator type of the stage
    std::int64_t positions = 0;
    std::int64_t head_width = 0;
    double theta = 10000.0;
  };
  /// Binds the tables to `arena` and, unless it measures, fills them through `kernels`.
  void bind(const Shape& shape, Kernels& kernels, Arena& arena);
};

}  // namespace baekji
