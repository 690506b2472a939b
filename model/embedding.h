#pragma once
// Token embedding over vocabulary slices.

#include "model/layer_context.h"
#include "parallel/stage.h"

namespace baekji {

class Embedding {
 public:
  Embedding(const LayerContext& context, GroupId table) : c_(context), table_(table) {}

  /// x (own tokens, residual type) = embedding_multiplier * table[token]. The sum over slices has one non-zero leaf.
  void forward(const MicroBatch& batch, const Tensor& x_NC, Workspace& w) const;
  /// Accumulates the table's gradient from dx (own tokens, residual type).
  void backward(const MicroBatch& batch, const Tensor& dx_NC, Workspace& w) const;

 private:
  std::int64_t first_row(std::int64_t slice) const;

  const LayerContext& c_;
  GroupId table_;
};

}  // namespace baekji
