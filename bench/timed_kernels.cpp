#include "bench/timed_kernels.h"

#include <fmt/format.h>

#include <initializer_list>

namespace baekji::bench {
namespace {

double bytes_of(std::initializer_list<Tensor> tensors) {
  double total = 0;
  for (const Tensor& t : tensors) total += t.defined() ? static_cast<double>(t.size_bytes()) : 0.0;
  return total;
}

// Causal: each query sees half of the square on average (the diagonal included).
double attention_flops(const Tensor& q_BTHD, double products) {
  const auto d = [&](int i) { return static_cast<double>(q_BTHD.dim(i)); };
  return products * d(0) * d(2) * d(3) * d(1) * (d(1) + 1.0);
}

double gradient_bytes(const GradientSource& g, std::int64_t count) {
  const double width = g.partial.defined() ? 8.0 : 4.0 * static_cast<double>(g.contributions.size());
  return width * static_cast<double>(count);
}

}  // namespace

std::string MatmulShape::describe() const {
  return fmt::format("{}{}{} {:>5} x {:>5} x {:>5} {}->{}", transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N',
                     accumulate ? '+' : ' ', m, n, inner, name_of(input), name_of(output));
}

template <class Call>
double TimedKernels::timed(const char* name, double flops, double bytes, const Call& call) {
  if (!timing_) {
    call();
    return 0;
  }
  const auto start = std::chrono::steady_clock::now();
  call();
  if (wait_) wait_();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  OperationTotal& total = totals_[name];
  total.calls += 1;
  total.seconds += seconds;
  total.flops += flops;
  total.bytes += bytes;
  return seconds;
}

void TimedKernels::matmul(const MatmulArgs& a) {
  const MatmulShape shape{.m = a.c.dim(0),
                          .n = a.c.dim(1),
                          .inner = a.transpose_a ? a.a.dim(0) : a.a.dim(1),
                          .transpose_a = a.transpose_a,
                          .transpose_b = a.transpose_b,
                          .accumulate = a.accumulate,
                          .input = a.a.type(),
                          .output = a.c.type()};
  const double bytes = bytes_of({a.a, a.b, a.c});
  const double seconds = timed("matmul", shape.flops(), bytes, [&] { inner().matmul(a); });
  if (!timing_) return;
  OperationTotal& total = matmuls_[shape];
  total.calls += 1;
  total.seconds += seconds;
  total.flops += shape.flops();
  total.bytes += bytes;
}

void TimedKernels::rms_norm_forward(const RmsNormForwardArgs& a) {
  timed("rms_norm_forward", 0, bytes_of({a.x_NC, a.y_NC}), [&] { inner().rms_norm_forward(a); });
}
void TimedKernels::rms_norm_backward(const RmsNormBackwardArgs& a) {
  timed("rms_norm_backward", 0, bytes_of({a.x_NC, a.dy_NC, a.dx_NC, a.accumulate ? a.dx_NC : Tensor()}),
        [&] { inner().rms_norm_backward(a); });
}
void TimedKernels::rope_forward(const RopeForwardArgs& a) {
  timed("rope_forward", 0, bytes_of({a.x_NHD, a.y_NHD}), [&] { inner().rope_forward(a); });
}
void TimedKernels::rope_backward(const RopeBackwardArgs& a) {
  timed("rope_backward", 0, bytes_of({a.dy_NHD, a.dx_NHD, a.x_NHD}), [&] { inner().rope_backward(a); });
}
void TimedKernels::attention_forward(const AttentionForwardArgs& a) {
  timed("attention_forward", attention_flops(a.q_BTHD, 2), bytes_of({a.q_BTHD, a.k_BTKD, a.v_BTKD, a.y_BTHD}),
        [&] { inner().attention_forward(a); });
}
void TimedKernels::attention_backward(const AttentionBackwardArgs& a) {
  timed("attention_backward", attention_flops(a.q_BTHD, 5),
        bytes_of({a.q_BTHD, a.k_BTKD, a.v_BTKD, a.y_BTHD, a.dy_BTHD, a.dq_BTHD, a.dk_BTKD, a.dv_BTKD}),
        [&] { inner().attention_backward(a); });
}
void TimedKernels::swiglu_forward(const SwigluForwardArgs& a) {
  timed("swiglu_forward", 0, bytes_of({a.gate_NF, a.up_NF, a.y_NF}), [&] { inner().swiglu_forward(a); });
}
void TimedKernels::swiglu_backward(const SwigluBackwardArgs& a) {
  timed("swiglu_backward", 0, bytes_of({a.gate_NF, a.up_NF, a.dy_NF, a.dgate_NF, a.dup_NF}),
        [&] { inner().swiglu_backward(a); });
}
void TimedKernels::embedding_forward(const EmbeddingForwardArgs& a) {
  timed("embedding_forward", 0, bytes_of({a.y_NC, a.y_NC}), [&] { inner().embedding_forward(a); });
}
void TimedKernels::embedding_backward(const EmbeddingBackwardArgs& a) {
  timed("embedding_backward", 0, 3 * bytes_of({a.dy_NC}), [&] { inner().embedding_backward(a); });
}
void TimedKernels::logits_max(const LogitsMaxArgs& a) {
  timed("logits_max", 0, bytes_of({a.logits_NV}), [&] { inner().logits_max(a); });
}
void TimedKernels::logits_exp_sum(const LogitsExpSumArgs& a) {
  timed("logits_exp_sum", 0, bytes_of({a.logits_NV, a.logits_NV}), [&] { inner().logits_exp_sum(a); });
}
void TimedKernels::logits_gradient(const LogitsGradientArgs& a) {
  timed("logits_gradient", 0, bytes_of({a.exp_NV, a.dlogits_NV}), [&] { inner().logits_gradient(a); });
}
void TimedKernels::token_loss(const TokenLossArgs& a) {
  timed("token_loss", 0, bytes_of({a.sum_N, a.target_logit_N, a.loss_N}), [&] { inner().token_loss(a); });
}
void TimedKernels::tree_add(const TreeAddArgs& a) {
  double bytes = bytes_of({a.out_NC, a.residual_NC});
  for (const Tensor& leaf : a.leaves_NC) bytes += static_cast<double>(leaf.size_bytes());
  timed("tree_add", 0, bytes, [&] { inner().tree_add(a); });
}
void TimedKernels::cast(const CastArgs& a) {
  timed("cast", 0, bytes_of({a.in, a.out}), [&] { inner().cast(a); });
}
void TimedKernels::fill_zero(const Tensor& t) {
  timed("fill_zero", 0, bytes_of({t}), [&] { inner().fill_zero(t); });
}
void TimedKernels::copy(const CopyArgs& a) {
  timed("copy", 0, bytes_of({a.from, a.to}), [&] { inner().copy(a); });
}
void TimedKernels::fixed_point_accumulate(const FixedPointArgs& a) {
  timed("fixed_point", 0, bytes_of({a.gradient, a.partial, a.overwrite ? Tensor() : a.partial}),
        [&] { inner().fixed_point_accumulate(a); });
}
void TimedKernels::square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) {
  double bytes = 0;
  for (const SquareSumArgs& a : args) bytes += gradient_bytes(a.gradient, a.count);
  timed("square_sums", 0, bytes, [&] { inner().square_sums(args, results); });
}
void TimedKernels::adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) {
  double bytes = 0;
  for (const AdamwArgs& a : args) {
    bytes += gradient_bytes(a.gradient, a.count) +
             static_cast<double>(a.count) *
                 (24.0 + (a.weight.defined() ? static_cast<double>(size_of(a.weight.type())) : 0.0));
  }
  timed("adamw", 0, bytes, [&] { inner().adamw(args, square_moves); });
}
void TimedKernels::absolute_max(const AbsoluteMaxArgs& a) {
  timed("absolute_max", 0, bytes_of({a.in}), [&] { inner().absolute_max(a); });
}
void TimedKernels::quantise(const QuantiseArgs& a) {
  timed("quantise", 0, bytes_of({a.in_NC, a.out_NC, a.transposed_CN}), [&] { inner().quantise(a); });
}
void TimedKernels::upload(const UploadArgs& a) {
  timed("upload", 0, bytes_of({a.to}), [&] { inner().upload(a); });
  if (timing_) totals_["upload"].crosses = true;
}
void TimedKernels::download(const DownloadArgs& a) {
  timed("download", 0, bytes_of({a.from}), [&] { inner().download(a); });
  if (timing_) totals_["download"].crosses = true;
}
void TimedKernels::sequence_loss(const SequenceLossArgs& a) {
  timed("sequence_loss", 0, bytes_of({a.loss_BT, a.sum_B}), [&] { inner().sequence_loss(a); });
}

}  // namespace baekji::bench
