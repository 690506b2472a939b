#pragma once
// [numerics]: what fixes the arithmetic of a step, whatever the layout. Part of the contract.

#include <cstdint>
#include <string>

#include "core/types.h"

namespace baekji {

struct NumericsConfig {
  std::string precision = "fp32";
  std::int64_t global_batch = 32;  ///< sequences per optimizer step
  std::int64_t micro_batch = 4;    ///< sequences per forward pass
  std::int64_t replicas = 1;
  std::int64_t tensor_grains = 1;
  std::string residual = "compute";
  std::int64_t loss_chunk = 512;

  template <class V>
  void visit(V& v) {
    v.choice("precision", precision, {"fp32", "bf16", "fp8"},
             "type of weights and activations (master weights are fp32); fp8: bf16, 8 bits in linear layers");
    v.field("global_batch", global_batch, "sequences per optimizer step");
    v.field("micro_batch", micro_batch, "sequences per forward pass");
    v.field("replicas", replicas, "fixed groups of the global batch, each summed in fp32, together in fixed point");
    v.field("tensor_grains", tensor_grains, "slices of every weight that tensor parallelism may split; a power of two");
    v.choice("residual", residual, {"compute", "fp32"}, "type of the residual stream");
    v.field("loss_chunk", loss_chunk, "tokens whose logits exist at once");
  }
};

/// The element types that a model is bound with.
struct ElementTypes {
  DType compute = DType::kFloat32;      ///< weights, activations
  DType residual = DType::kFloat32;     ///< the residual stream and its gradient
  DType accumulator = DType::kFloat32;  ///< statistics, losses, parameter gradients
  bool float8_linear = false;           ///< the linear layers of blocks multiply 8-bit copies
};

inline ElementTypes element_types(const NumericsConfig& numerics) {
  const DType compute = numerics.precision == "fp32" ? DType::kFloat32 : DType::kBfloat16;
  return {.compute = compute,
          .residual = numerics.residual == "fp32" ? DType::kFloat32 : compute,
          .float8_linear = numerics.precision == "fp8"};
}

/// What most of the arithmetic multiplies: the type whose ceiling `mfu` is held against.
inline DType multiplied_type(const ElementTypes& types) {
  return types.float8_linear ? DType::kFloat8E4M3 : types.compute;
}

/// Throws unless the counts divide as the contract needs (design, section 4), for one training stage.
void validate(const NumericsConfig& numerics, std::int64_t context, const std::string& place);

}  // namespace baekji
