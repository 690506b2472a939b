#pragma once
// The parameters of a model: names, shapes, slices and initialisation, as groups for the ParameterStore.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "model/model_config.h"
#include "model/stage_partition.h"
#include "parallel/parameter_store.h"

namespace baekji {

/// Where a block finds its parameters. kAbsent marks the optional ones that the model does without.
inline constexpr GroupId kAbsent = static_cast<GroupId>(-1);
struct BlockGroups {
  GroupId attention_norm = kAbsent;
  GroupId qkv = kAbsent;  ///< q, k, v: rows of one fused matrix per slice
  GroupId q_norm = kAbsent;
  GroupId k_norm = kAbsent;
  GroupId attention_output = kAbsent;
  GroupId attention_output_norm = kAbsent;
  GroupId feed_forward_norm = kAbsent;
  GroupId gate_up = kAbsent;
  GroupId down = kAbsent;
  GroupId feed_forward_output_norm = kAbsent;

  std::array<GroupId, 10> all() const {
    return {attention_norm,
            qkv,
            q_norm,
            k_norm,
            attention_output,
            attention_output_norm,
            feed_forward_norm,
            gate_up,
            down,
            feed_forward_output_norm};
  }
};

struct ModelParameters {
  std::vector<ParameterGroup> groups;
  GroupId embedding = kAbsent;
  std::vector<BlockGroups> blocks;
  GroupId final_norm = kAbsent;
  GroupId head = kAbsent;              ///< the embedding's group when tied
  std::int64_t head_contribution = 0;  ///< which gradient sum of that group the head adds to

  // ParameterGroup::unit
  std::int64_t embedding_unit = 0;
  std::int64_t head_unit = 0;  ///< the embedding's when tied
  std::int64_t block_unit(std::int64_t layer) const { return embedding_unit + 1 + layer; }
};

/// What a rank with these stages holds. A tied table whose two uses fall on different ranks is held by both, each with
/// its own gradient sum.
std::vector<HeldGroup> held_groups(const ModelParameters& parameters, std::span<const StageRange> stages);

/// Names are the public ones: embedding, layers.N.attention.{norm,q,k,v,q_norm,k_norm,output,output_norm},
/// layers.N.feed_forward.{norm,gate,up,down,output_norm}, final_norm, head.
ModelParameters declare_parameters(const ModelConfig& model, std::int64_t tensor_grains);

}  // namespace baekji
