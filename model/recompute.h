#pragma once
// Recompute: which activations are kept for the backward pass.

#include <cstdint>

namespace baekji {

/// kSelective computes attention and the pointwise parts again (norms, rotation, SwiGLU), and no product of a matrix of
/// weights (Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models", section 5); kFull
/// keeps each block's input and computes the rest again.
enum class Recompute : std::uint8_t { kNone, kSelective, kFull };

}  // namespace baekji
