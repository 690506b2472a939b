#pragma once
// What every layer of a stage shares.

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/arena.h"
#include "kernels/kernels.h"
#include "model/model_config.h"
#include "model/operand.h"
#include "parallel/grains.h"
#include "parallel/parameter_store.h"

namespace baekji {

/// Shape of the micro-batches that a stage is bound for.
struct BatchShape {
  std::int64_t sequences = 1;  ///< B
  std::int64_t context = 1;    ///< T
  std::int64_t tokens() const { return sequences * context; }
};

/// References only; the owner outlives every layer.
struct LayerContext {
  Kernels& kernels;
  ParameterStore& parameters;
  GrainTree& grains;
  const ModelConfig& model;
  ElementTypes types;
  BatchShape shape;

  std::int64_t tokens() const { return shape.tokens(); }
  std::int64_t local_tokens() const { return grains.map().local_tokens(tokens()); }
  std::int64_t slices() const { return grains.map().count(); }
  /// This rank's own rows of a tensor that holds all tokens.
  Tensor own_rows(const Tensor& full_NC) const {
    return full_NC.rows(grains.map().first_token(full_NC.dim(0)), grains.map().local_tokens(full_NC.dim(0)));
  }
};

/// One tensor per local slice.
inline std::vector<Tensor> allocate_slices(const LayerContext& c, Arena& arena, std::string_view category,
                                           std::int64_t columns) {
  std::vector<Tensor> slices;
  for (std::int64_t s = 0; s < c.slices(); ++s)
    slices.push_back(arena.allocate(category, c.types.compute, {c.tokens(), columns}));
  return slices;
}

/// What the input half of a branch's backward pass leaves for its weight half.
struct BranchGradients {
  Tensor dy_NC;                   ///< all tokens: gradient of the branch's output
  std::vector<Tensor> dinner_NE;  ///< by local slice: gradient of the fused input projection's output
};

/// Buffers that blocks use one after another and that hold nothing between layers.
struct Workspace {
  std::vector<Tensor> partial_NC;  ///< by local slice: leaves of the grain tree
  std::vector<Tensor> dheads_NE;   ///< by local slice
  std::vector<Tensor> dact_NF;     ///< by local slice
  Tensor branch_NC;                ///< own tokens: a branch's gradient in compute type
  Tensor full_NC;                  ///< all tokens: gathered gradients
  OperandBuffers operands;         ///< with fp8: what the linear layer at hand multiplies

  void bind(const LayerContext& c, Arena& arena, bool training);

 private:
  void bind_operands(const LayerContext& c, Arena& arena);
};

}  // namespace baekji
