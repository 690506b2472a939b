#include "model/stage_partition.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace baekji {
namespace {

// Embedding moves rows of the residual stream's width: about the bytes of a norm, a few percent of a block.
constexpr double kEmbeddingShareOfBlock = 0.05;

std::vector<std::int64_t> balanced_layers(const ModelConfig& model, std::int64_t stages) {
  const double block = stage_cost(model, {.layers = 1, .embedding = false, .head = false});
  std::vector<std::int64_t> layers(static_cast<std::size_t>(stages), 1);
  std::vector<double> cost(layers.size(), block);
  cost.front() += stage_cost(model, {.embedding = true, .head = false});
  cost.back() += stage_cost(model, {.embedding = false, .head = true});
  // Blocks cost the same, so giving each one to the cheapest stage is optimal; of equal stages the earlier one, whose
  // activations live longer, gets none first.
  for (std::int64_t left = model.layers - stages; left > 0; --left) {
    const auto cheapest = std::min_element(cost.rbegin(), cost.rend());
    *cheapest += block;
    layers[static_cast<std::size_t>(std::distance(cheapest, cost.rend()) - 1)] += 1;
  }
  return layers;
}

}  // namespace

StageRange whole_model(const ModelConfig& model) {
  return {.layers = model.layers};
}

double stage_flops_per_token(const ModelConfig& model, const StageRange& range, std::int64_t context) {
  ModelConfig part = model;
  part.layers = range.layers;
  if (!range.head) part.vocab = 0;
  return flops_per_token(part, context);
}

double stage_cost(const ModelConfig& model, const StageRange& range) {
  const StageRange block{.layers = 1, .embedding = false, .head = false};
  const double embedding = kEmbeddingShareOfBlock * stage_flops_per_token(model, block, model.context);
  return stage_flops_per_token(model, range, model.context) + (range.embedding ? embedding : 0);
}

std::vector<StageRange> partition_layers(const ModelConfig& model, std::int64_t stages,
                                         std::span<const std::int64_t> layers_per_stage, const std::string& place) {
  if (stages > model.layers) {
    throw Error("every pipeline stage needs a layer")
        .values(fmt::format("pipeline x virtual_stages <= layers = {}", model.layers), fmt::format("{}", stages))
        .at(place);
  }
  std::vector<std::int64_t> layers(layers_per_stage.begin(), layers_per_stage.end());
  if (layers.empty()) layers = balanced_layers(model, stages);
  const bool positive = std::all_of(layers.begin(), layers.end(), [](std::int64_t n) { return n > 0; });
  const std::int64_t sum = std::accumulate(layers.begin(), layers.end(), std::int64_t{0});
  if (std::ssize(layers) != stages || !positive || sum != model.layers) {
    throw Error("layers_per_stage does not fit the model")
        .values(fmt::format("{} positive numbers (pipeline x virtual_stages) that add up to {} layers", stages,
                            model.layers),
                fmt::format("[{}], which add up to {}", fmt::join(layers, ", "), sum))
        .at(place);
  }
  std::vector<StageRange> ranges;
  for (std::int64_t first = 0; const std::int64_t count : layers) {
    ranges.push_back({.first_layer = first, .layers = count, .embedding = first == 0, .head = false});
    first += count;
  }
  ranges.back().head = true;
  return ranges;
}

}  // namespace baekji
