#include "kernels/cuda/cuda_kernels.h"

#include "core/device_cuda.h"
#include "kernels/check.h"
#include "kernels/cuda/cross_entropy.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/embedding.h"
#include "kernels/cuda/feed_forward.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/quantise.h"
#include "kernels/cuda/rms_norm.h"
#include "kernels/cuda/rope.h"
#include "kernels/cuda_planning.h"

namespace baekji {

CudaKernels::CudaKernels(Device device) : queue_(device), matmul_(queue_), attention_(queue_) {}

std::string CudaKernels::describe() const {
  const CudaInfo info = cuda_info(device());
  return fmt::format("cuda sm_{}{}, {} multiprocessors; runtime {}; {}; {}", info.major, info.minor,
                     info.multiprocessors, info.runtime, matmul_.describe(), attention_.describe());
}

std::int64_t CudaKernels::scratch_bytes(const WorkShape& shape) const {
  return cuda_scratch_bytes(shape, cuda_info(device()).major);
}

void CudaKernels::matmul(const MatmulArgs& args) {
  matmul_.run(args);
}
void CudaKernels::attention_forward(const AttentionForwardArgs& args) {
  attention_.forward(args);
}
void CudaKernels::attention_backward(const AttentionBackwardArgs& args) {
  attention_.backward(args);
}
void CudaKernels::absolute_max(const AbsoluteMaxArgs& args) {
  cuda::absolute_max(args, queue_);
}
void CudaKernels::quantise(const QuantiseArgs& args) {
  cuda::quantise(args, queue_);
}
void CudaKernels::rms_norm_forward(const RmsNormForwardArgs& args) {
  cuda::rms_norm_forward(args, queue_);
}
void CudaKernels::rms_norm_backward(const RmsNormBackwardArgs& args) {
  cuda::rms_norm_backward(args, queue_);
}
void CudaKernels::rope_forward(const RopeForwardArgs& args) {
  cuda::rope_forward(args, queue_);
}
void CudaKernels::rope_backward(const RopeBackwardArgs& args) {
  cuda::rope_backward(args, queue_);
}
void CudaKernels::swiglu_forward(const SwigluForwardArgs& args) {
  cuda::swiglu_forward(args, queue_);
}
void CudaKernels::swiglu_backward(const SwigluBackwardArgs& args) {
  cuda::swiglu_backward(args, queue_);
}
void CudaKernels::embedding_forward(const EmbeddingForwardArgs& args) {
  cuda::embedding_forward(args, queue_);
}
void CudaKernels::embedding_backward(const EmbeddingBackwardArgs& args) {
  cuda::embedding_backward(args, queue_);
}
void CudaKernels::logits_max(const LogitsMaxArgs& args) {
  cuda::logits_max(args, queue_);
}
void CudaKernels::logits_exp_sum(const LogitsExpSumArgs& args) {
  cuda::logits_exp_sum(args, queue_);
}
void CudaKernels::logits_gradient(const LogitsGradientArgs& args) {
  cuda::logits_gradient(args, queue_);
}
void CudaKernels::token_loss(const TokenLossArgs& args) {
  cuda::token_loss(args, queue_);
}
void CudaKernels::tree_add(const TreeAddArgs& args) {
  cuda::tree_add(args, queue_);
}
void CudaKernels::cast(const CastArgs& args) {
  cuda::cast(args, queue_);
}
void CudaKernels::copy(const CopyArgs& args) {
  cuda::copy(args, queue_);
}
void CudaKernels::sequence_loss(const SequenceLossArgs& args) {
  cuda::sequence_loss(args, queue_);
}
void CudaKernels::fixed_point_accumulate(const FixedPointArgs& args) {
  cuda::fixed_point_accumulate(args, queue_);
}
void CudaKernels::fill_zero(const Tensor& tensor) {
  cuda::fill_zero(tensor, queue_);
}
void CudaKernels::upload(const UploadArgs& args) {
  check_arguments(args);
  queue_.upload(args.from, args.to.data(), args.to.size_bytes());
}
void CudaKernels::download(const DownloadArgs& args) {
  check_arguments(args);
  queue_.download(args.from.data(), args.to, args.from.size_bytes());
}
void CudaKernels::square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) {
  cuda::square_sums(args, results, queue_);
}
void CudaKernels::adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) {
  cuda::adamw(args, square_moves, queue_);
}

std::unique_ptr<Kernels> make_cuda_kernels(Device device) {
  return std::make_unique<CudaKernels>(device);
}

}  // namespace baekji
