#include "kernels/cpu/cpu_kernels.h"

#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/feed_forward.h"
#include "kernels/cpu/optimizer.h"
#include "kernels/cpu/quantise.h"
#include "kernels/cpu/rope.h"
#include "kernels/reference/cross_entropy.h"
#include "kernels/reference/elementwise.h"

namespace baekji {
namespace {

// The instruction set that this file, and with it every kernel, was compiled for.
std::string instruction_set() {
  std::string text;
#if defined(__AVX512F__)
  text += " avx512f";
#endif
#if defined(__AVX512DQ__)
  text += " avx512dq";
#endif
#if defined(__AVX512BF16__)
  text += " avx512bf16";
#endif
#if defined(__AVX2__)
  text += " avx2";
#endif
#if defined(__FMA__)
  text += " fma";
#endif
#if defined(__ARM_FEATURE_SVE)
  text += " sve";
#endif
  return text.empty() ? " baseline" : text;
}

}  // namespace

CpuKernels::CpuKernels(ThreadPool& pool) : pool_(pool), matmul_(pool), attention_(pool) {}

std::string CpuKernels::describe() const {
  return fmt::format("cpu{}; compiler {}; {}", instruction_set(), __VERSION__, matmul_.describe());
}

void CpuKernels::matmul(const MatmulArgs& args) {
  matmul_.run(args);
}
std::int64_t CpuKernels::packed_weight_bytes(const Tensor& weight) const {
  if (weight.rank() != 2) return 0;
  // Forward uses the weight transposed, the input gradient as it stands: one packed copy each.
  return CpuMatmul::packed_bytes_of(weight.type(), weight.dim(1), weight.dim(0)) +
         CpuMatmul::packed_bytes_of(weight.type(), weight.dim(0), weight.dim(1));
}

std::int64_t CpuKernels::scratch_bytes(const WorkShape& shape) const {
  return matmul_.scratch_bytes() + CpuAttention::scratch_bytes_of(shape.context, shape.head_width, pool_.threads());
}

void CpuKernels::absolute_max(const AbsoluteMaxArgs& args) {
  cpu::absolute_max(args, pool_);
}
void CpuKernels::quantise(const QuantiseArgs& args) {
  cpu::quantise(args, pool_);
}
void CpuKernels::weights_changed() {
  matmul_.weights_changed();
}
void CpuKernels::attention_forward(const AttentionForwardArgs& args) {
  attention_.forward(args);
}
void CpuKernels::attention_backward(const AttentionBackwardArgs& args) {
  attention_.backward(args);
}

void CpuKernels::rms_norm_forward(const RmsNormForwardArgs& args) {
  cpu::rms_norm_forward(args, pool_);
}
void CpuKernels::rms_norm_backward(const RmsNormBackwardArgs& args) {
  cpu::rms_norm_backward(args, pool_, gain_sums_);
}
void CpuKernels::rope_forward(const RopeForwardArgs& args) {
  cpu::rope_forward(args, pool_);
}
void CpuKernels::rope_backward(const RopeBackwardArgs& args) {
  cpu::rope_backward(args, pool_, gain_sums_);
}
void CpuKernels::swiglu_forward(const SwigluForwardArgs& args) {
  cpu::swiglu_forward(args, pool_);
}
void CpuKernels::swiglu_backward(const SwigluBackwardArgs& args) {
  cpu::swiglu_backward(args, pool_);
}
void CpuKernels::embedding_forward(const EmbeddingForwardArgs& args) {
  cpu::embedding_forward(args, pool_);
}
void CpuKernels::embedding_backward(const EmbeddingBackwardArgs& args) {
  cpu::embedding_backward(args, pool_);
}
void CpuKernels::logits_max(const LogitsMaxArgs& args) {
  cpu::logits_max(args, pool_);
}
void CpuKernels::logits_exp_sum(const LogitsExpSumArgs& args) {
  cpu::logits_exp_sum(args, pool_);
}
void CpuKernels::logits_gradient(const LogitsGradientArgs& args) {
  cpu::logits_gradient(args, pool_);
}
void CpuKernels::token_loss(const TokenLossArgs& args) {
  cpu::token_loss(args);
}
void CpuKernels::tree_add(const TreeAddArgs& args) {
  cpu::tree_add(args, pool_);
}
void CpuKernels::cast(const CastArgs& args) {
  cpu::cast(args, pool_);
}
void CpuKernels::fill_zero(const Tensor& tensor) {
  cpu::fill_zero(tensor, pool_);
}
void CpuKernels::copy(const CopyArgs& args) {
  cpu::copy(args, pool_);
}

void CpuKernels::upload(const UploadArgs& args) {
  reference::upload(args);
}
void CpuKernels::download(const DownloadArgs& args) {
  reference::download(args);
}
void CpuKernels::sequence_loss(const SequenceLossArgs& args) {
  reference::sequence_loss<float>(args);
}
void CpuKernels::fixed_point_accumulate(const FixedPointArgs& args) {
  cpu::fixed_point_accumulate(args, pool_);
}
void CpuKernels::square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) {
  cpu::square_sums(args, results, pool_);
}
void CpuKernels::adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) {
  cpu::adamw(args, square_moves, pool_);
}

std::unique_ptr<Kernels> make_cpu_kernels(ThreadPool& pool) {
  return std::make_unique<CpuKernels>(pool);
}

}  // namespace baekji
