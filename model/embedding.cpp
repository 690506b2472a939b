#include "model/embedding.h"

namespace baekji {

std::int64_t Embedding::first_row(std::int64_t slice) const {
  const LogicalTensor& table = c_.parameters.group(table_).members.front().logical;
  return (c_.grains.map().first() + slice) * table.slice_rows();
}

void Embedding::forward(const MicroBatch& batch, const Tensor& x_NC, Workspace& w) const {
  for (std::int64_t s = 0; s < c_.slices(); ++s) {
    c_.kernels.embedding_forward({.token_N = batch.token_BT.view({c_.tokens()}),
                                  .table_VC = c_.parameters.weight(table_, s),
                                  .y_NC = w.partial_NC[static_cast<std::size_t>(s)],
                                  .first_row = first_row(s)});
  }
  c_.grains.reduce({.leaves_NC = w.partial_NC, .out_NC = x_NC, .scale = c_.model.embedding_multiplier});
}

void Embedding::backward(const MicroBatch& batch, const Tensor& dx_NC, Workspace& w) const {
  c_.kernels.cast({.in = dx_NC, .out = c_.own_rows(w.full_NC)});
  c_.grains.gather_tokens(w.full_NC);
  for (std::int64_t s = 0; s < c_.slices(); ++s) {
    c_.kernels.embedding_backward({.token_N = batch.token_BT.view({c_.tokens()}),
                                   .dy_NC = w.full_NC,
                                   .dtable_VC = c_.parameters.gradient(table_, s, 0),
                                   .first_row = first_row(s),
                                   .scale = c_.model.embedding_multiplier});
  }
}

}  // namespace baekji
