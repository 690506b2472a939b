#pragma once
// Which layers each pipeline stage has. A pure function of the model's shape.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/model_config.h"

namespace baekji {

/// Blocks [first_layer, first_layer + layers), and the ends of the model.
struct StageRange {
  std::int64_t first_layer = 0;
  std::int64_t layers = 0;
  bool embedding = true;  ///< the first stage
  bool head = true;       ///< the last one: final norm, head and loss
  bool operator==(const StageRange&) const = default;
};

/// All of the model as one stage.
StageRange whole_model(const ModelConfig& model);

/// The layers dealt out to `stages` stages, in order: as `layers_per_stage` says, or (when it is empty) so that the
/// costliest stage costs least, the head counted by its operations and the embedding by its bytes. Throws, at `place`,
/// when there are fewer layers than stages, or the given numbers are not positive or do not add up.
std::vector<StageRange> partition_layers(const ModelConfig& model, std::int64_t stages,
                                         std::span<const std::int64_t> layers_per_stage, const std::string& place);

/// FLOPs per token of a stage in forward and backward passes, as flops_per_token() counts them.
double stage_flops_per_token(const ModelConfig& model, const StageRange& range, std::int64_t context);

/// What partition_layers() balances: those FLOPs, and for the embedding the share of a block that its bytes are worth.
double stage_cost(const ModelConfig& model, const StageRange& range);

}  // namespace baekji
