#pragma once
// The rotary tables: cos and sin of position * theta^(-2i / D), in fp64 without libm, rounded once.

#include "core/arena.h"

namespace baekji {

struct RopeTable {
  Tensor cos_PE;  ///< [positions, D / 2]
  Tensor sin_PE;

  /// `type` is the accumulator type of the stage.
  void bind(Arena& arena, DType type, std::int64_t positions, std::int64_t head_width, double theta);
};

}  // namespace baekji
