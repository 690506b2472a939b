#pragma once
// Workload: what a cost model needs to know of a training run, whoever's trainer runs it. A pure value.

#include <cstdint>
#include <string>
#include <vector>

#include "core/types.h"
#include "model/recompute.h"

namespace baekji {

/// A decoder's shape. `gate` counts the matrices into the feed-forward layer: 2 for SwiGLU, 1 for GELU.
struct ModelShape {
  std::int64_t layers = 1;
  std::int64_t hidden = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_width = 1;
  std::int64_t ffn = 1;
  std::int64_t gate = 2;
  std::int64_t vocab = 1;
  bool tied_embeddings = false;

  std::int64_t attention_width() const { return heads * head_width; }
  std::int64_t kv_width() const { return kv_heads * head_width; }
  /// Multiplied parameters of a block.
  double block_parameters() const {
    return static_cast<double>(hidden) * static_cast<double>(2 * attention_width() + 2 * kv_width() + (gate + 1) * ffn);
  }
  double table_parameters() const { return static_cast<double>(hidden) * static_cast<double>(vocab); }
  double parameters() const {
    return static_cast<double>(layers) * block_parameters() + (tied_embeddings ? 1 : 2) * table_parameters();
  }
  /// As flops_per_token() of model/model_config.h counts: head included, half of the attention square, no
  /// recomputation.
  double flops_per_token(std::int64_t context) const {
    return 6 * (static_cast<double>(layers) * block_parameters() + table_parameters()) +
           6 * static_cast<double>(layers) * static_cast<double>(attention_width()) * static_cast<double>(context);
  }
};

enum class Precision : std::uint8_t { kFloat32, kBfloat16, kFloat8, kFloat4 };

/// Who does what. The tensor axis varies fastest over devices, then context, data, pipeline.
struct ParallelLayout {
  std::int64_t tensor = 1;
  std::int64_t context = 1;  ///< ranks that divide a sequence (peers only)
  std::int64_t data = 1;
  std::int64_t pipeline = 1;
  std::int64_t virtual_stages = 1;
  std::string schedule = "1f1b";
  std::int64_t zero = 0;
  Recompute recompute = Recompute::kNone;
  std::vector<std::int64_t> layers_per_stage;  ///< empty: dealt out evenly

  std::int64_t devices() const { return tensor * context * data * pipeline; }
};

struct Workload {
  ModelShape model;
  ParallelLayout layout;
  Precision precision = Precision::kBfloat16;
  std::int64_t sequence = 1;      ///< tokens
  std::int64_t micro_batch = 1;   ///< sequences of a forward pass
  std::int64_t global_batch = 1;  ///< sequences of a step
  // Of our numerics contract; peers have one of each.
  std::int64_t replicas = 1;
  std::int64_t slices = 1;  ///< tensor grains of a rank: products and attention run one by one

  /// Of the data rank that has the most.
  std::int64_t micro_batches() const { return ceil_div(ceil_div(global_batch, micro_batch), layout.data); }
  double tokens_per_step() const { return static_cast<double>(global_batch) * static_cast<double>(sequence); }
};

}  // namespace baekji
