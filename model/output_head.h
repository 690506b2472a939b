#pragma once
// The end of the model: final norm, head, and cross-entropy fused in token chunks, so that the logits of a whole
// micro-batch never exist.

#include <span>
#include <vector>

#include "model/layer_context.h"
#include "model/norm.h"
#include "model/parameters.h"
#include "parallel/stage.h"

namespace baekji {

class OutputHead {
 public:
  OutputHead(const LayerContext& context, const ModelParameters& parameters, std::int64_t loss_chunk);

  void bind(Arena& arena, bool training);

  /// loss (fp64) = the loss of each sequence, from x (own tokens of the residual stream).
  void evaluate(const MicroBatch& batch, const Tensor& x_NC, const Tensor& loss_B);
  /// The same, and dx (own tokens, residual type) overwritten with the gradient of the summed loss with respect to x;
  /// accumulates the gradients of head and final norm.
  void loss_and_gradient(const MicroBatch& batch, const Tensor& x_NC, const Tensor& dx_NC, Workspace& w,
                         const Tensor& loss_B);
  /// Logits of one token, unpadded vocabulary, fp32. Needs every slice on this rank.
  void logits(const Tensor& x_NC, std::int64_t row, std::span<float> out_V);

  /// Loss of each token of the last call, accumulator type.
  const Tensor& token_loss() const { return token_loss_N_; }

 private:
  void normalise(const Tensor& x_NC);
  void forward_chunk(const MicroBatch& batch, std::int64_t begin, std::int64_t count);
  void backward_chunk(const MicroBatch& batch, std::int64_t begin, std::int64_t count, Workspace& w);
  void fold_losses(const Tensor& loss_B) const;
  std::int64_t first_row(std::int64_t slice) const { return (c_.grains.map().first() + slice) * rows_; }
  /// Columns of a slice that are no padding.
  std::int64_t columns(std::int64_t slice) const;

  const LayerContext& c_;
  GroupId head_;
  std::int64_t contribution_;
  Norm norm_;
  std::int64_t chunk_;
  std::int64_t rows_;  // vocabulary rows of a slice
  Tensor normed_NC_;   // all tokens
  Tensor rstd_N_;
  std::vector<Tensor> logits_NV_;   // by local slice, one chunk
  std::vector<Tensor> dlogits_NV_;  // the same memory in fp32
  Tensor max_N_;
  std::vector<Tensor> sums_N1_;  // by local slice
  Tensor sum_N1_;
  Tensor target_logit_N_;
  Tensor token_loss_N_;
};

}  // namespace baekji
