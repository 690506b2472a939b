#pragma once
// What decides the algorithm, and with it the bits, of a matrix product on the GPU.

#include <compare>
#include <cstdint>
#include <string>

#include "kernels/kernels.h"

namespace baekji::cuda {

/// A matrix in memory: its row stride in elements, and to how many bytes the start of every row is aligned.
///
/// `alignment` is a power of two up to 16, the strictest that any algorithm asks for. It belongs to the problem because
/// the library chooses by it; yet it is the same on every rank: slices begin at 256 bytes, so whatever range of rows a
/// rank takes, the row stride and the column offset inside the slice alone decide it.
struct MatmulOperand {
  DType type = DType::kFloat32;
  std::int64_t row_elements = 0;
  int alignment = 16;
  bool transpose = false;

  auto operator<=>(const MatmulOperand&) const = default;
};

struct MatmulProblem {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t inner = 0;
  MatmulOperand a;
  MatmulOperand b;
  MatmulOperand c;
  bool accumulate = false;

  auto operator<=>(const MatmulProblem&) const = default;

  bool is_8_bit() const { return size_of(a.type) == 1; }
  /// Products of 8 bits may skip the promotion of partial sums to full fp32 registers ("fast accumulation"). NVIDIA
  /// Transformer Engine's recipes do so in the forward pass and not for either gradient (common/recipe:
  /// use_split_accumulator is false for fprop, true for dgrad and wgrad). Arguments do not name the pass, but the types
  /// do: gradients are e5m2 there, everything of a forward pass is e4m3. With e4m3 gradients the passes look alike, and
  /// have it all.
  bool fast_accumulation() const { return a.type == DType::kFloat8E4M3 && b.type == DType::kFloat8E4M3; }

  /// The key of the table of algorithms: "512x1024x768 bf16/768 x bf16/768' -> +fp32/1024 @16,16,16": rows x columns x
  /// inner; types and row strides; ' for transposed, + for accumulated; alignments.
  std::string describe() const;
};

/// The problem of these arguments. Throws Error on shapes that do not go together, and on types, transposes, scales,
/// alignments or devices that the GPU has no product for.
MatmulProblem problem_of(const MatmulArgs& args, Device device);

}  // namespace baekji::cuda
