// Operations of the CUDA back end that are not written yet. Temporary: each is weak, so that its source replaces it by
// being there, and the file goes when nothing is missing.

#include "core/error.h"
#include "kernels/cuda/cross_entropy.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/embedding.h"
#include "kernels/cuda/feed_forward.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/quantise.h"
#include "kernels/cuda/rms_norm.h"
#include "kernels/cuda/rope.h"

namespace baekji::cuda {
namespace {

[[noreturn]] void missing() {
  throw Error("this operation has no CUDA kernel yet");
}

}  // namespace

[[gnu::weak]] void rms_norm_forward(const RmsNormForwardArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void rms_norm_backward(const RmsNormBackwardArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void rope_forward(const RopeForwardArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void rope_backward(const RopeBackwardArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void swiglu_forward(const SwigluForwardArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void swiglu_backward(const SwigluBackwardArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void embedding_forward(const EmbeddingForwardArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void embedding_backward(const EmbeddingBackwardArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void logits_max(const LogitsMaxArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void logits_exp_sum(const LogitsExpSumArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void logits_gradient(const LogitsGradientArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void token_loss(const TokenLossArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void sequence_loss(const SequenceLossArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void tree_add(const TreeAddArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void cast(const CastArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void fill_zero(const Tensor& /*tensor*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void copy(const CopyArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void fixed_point_accumulate(const FixedPointArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void square_sums(std::span<const SquareSumArgs> /*args*/, std::span<SquareSum> /*results*/,
                               Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void adamw(std::span<const AdamwArgs> /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void absolute_max(const AbsoluteMaxArgs& /*args*/, Queue& /*queue*/) {
  missing();
}
[[gnu::weak]] void quantise(const QuantiseArgs& /*args*/, Queue& /*queue*/) {
  missing();
}

}  // namespace baekji::cuda
