#pragma once
// Kernels: every operation that a model needs, on one device.
//
// Dims in names and comments (one legend for the whole file):
//   N tokens of a micro-batch (B sequences x T positions), C hidden, O output features, I input features,
//   H query heads, K key/value heads, D head_dim, F ffn, V vocabulary rows of a slice.
// Conventions for every operation:
//   - Tensors may be row-strided (Tensor::stride(0)); the last dim is always dense.
//   - "compute type" tensors are weights and activations (fp32, or bf16 in bf16 precision); statistics, losses and
//     parameter gradients are fp32 ("accumulator type"). In the fp64 and complex instantiations of the reference all of
//     them have that one type.
//   - Outputs are *overwritten* unless an argument says *accumulated*.
//   - Arithmetic inside one operation is fp32 whatever the storage type; each stored element is rounded once.
//   - Results do not depend on the number of threads, nor on which other rows are in the call.
//   - Row-wise operations (all but matmul and attention) give the reference's bits on every back end. Sums along a row
//   run
//     in 16 lanes and their tree, sums over rows (dgain) in blocks of 64 rows: kernels/reference/reduce.h has both
//     orders.
//   - The weights, activations and gradients of one operation have one compute type; those of the residual stream (x
//   and
//     dx of a norm, y and dy of an embedding, out and residual of the tree) may have another.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace baekji {

/// c_MN = op(a) op(b) [+ c_MN]: dot products over the inner dim in an order that the shape alone fixes.
///
/// Operands of 8 bits are e4m3 x e4m3, e5m2 x e4m3 or e4m3 x e5m2, with the inner dim last in both (transpose_b alone),
/// as the tensor cores of Hopper take them; the values are exact in fp32, and so are their products.
struct MatmulArgs {
  Tensor a;  ///< [M, Inner], or [Inner, M] when transpose_a
  Tensor b;  ///< [Inner, N], or [N, Inner] when transpose_b (a weight w_OI in a forward pass)
  Tensor c;  ///< [M, N]; compute or accumulator type
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  ///< *accumulated* into c instead of overwritten (one addition per element, after the dot)
  /// b is a weight that stays the same until weights_changed(): the device may keep a packed copy of it.
  bool b_is_weight = false;
  /// With operands of 8 bits, and only then: fp32 [1] each, powers of two. c = (scale_a * scale_b) * (op(a) op(b)) [+
  /// c].
  Tensor scale_a;
  Tensor scale_b;
};

/// max[0] = the largest magnitude of the elements (a NaN is the largest of all), or of them and the old max[0]. 0 for
/// an empty matrix; any NaN is stored as the quiet one, 0x7FC00000.
struct AbsoluteMaxArgs {
  Tensor in;   ///< fp32 or bf16 matrix
  Tensor max;  ///< fp32 [1]
  bool combine = false;
};
/// out = round(in / scale) in 8 bits, with the smallest power of two, but at least 2^-126, as scale that keeps
/// max / scale within the largest value of the type. The scale is 1 when max is 0, and max itself when that is not
/// finite: then every code is NaN, so that products show it. Values beyond max saturate; a NaN has the code 0x7F.
/// Per-tensor current scaling (Micikevicius et al. 2022, section 3; NVIDIA Transformer Engine's name for it).
struct QuantiseArgs {
  Tensor in_NC;          ///< fp32 or bf16
  Tensor max;            ///< fp32 [1]
  Tensor out_NC;         ///< e4m3 or e5m2; undefined: not wanted
  Tensor transposed_CN;  ///< the same values, transposed; undefined: not wanted, but one of the two must be defined
  Tensor scale;          ///< fp32 [1], overwritten; not max itself
};

/// y = x * rstd * gain with rstd = 1 / sqrt(mean(x^2) + eps), row by row (Zhang and Sennrich 2019, "Root mean square
/// layer normalization").
struct RmsNormForwardArgs {
  Tensor x_NC;
  Tensor gain_C;  ///< compute type
  Tensor y_NC;
  Tensor rstd_N;  ///< fp32, saved for the backward pass
  double eps = 1e-5;
};

/// dx [+]= rstd * (g - xhat * mean(g * xhat)) with xhat = x * rstd, g = dy * gain; dgain += sum over rows of dy * xhat,
/// rows in index order in fixed blocks. dx may be dy itself.
struct RmsNormBackwardArgs {
  Tensor x_NC;
  Tensor gain_C;
  Tensor rstd_N;
  Tensor dy_NC;
  Tensor dx_NC;
  Tensor dgain_C;           ///< fp32, *accumulated*
  bool accumulate = false;  ///< dx is *accumulated* (the residual stream's gradient passes through)
};

/// Rotary position embedding (Su et al. 2021), half-split pairs (d, d + D/2), in place; optionally after RMSNorm of
/// each head (QK-norm). tables: cos_PD2 / sin_PD2 indexed by position. Rows are tokens, one head range [H, D] per row.
struct RopeForwardArgs {
  Tensor x_NHD;       ///< input
  Tensor y_NHD;       ///< output; may be x itself when gain is undefined
  Tensor position_N;  ///< int32 index into the tables
  Tensor cos_PE;      ///< fp32 [positions, D / 2]
  Tensor sin_PE;
  Tensor gain_D;   ///< undefined: no QK-norm
  Tensor rstd_NH;  ///< fp32, saved when gain is defined
  double eps = 1e-5;
};

/// dx overwritten (may be dy itself). With gain: through rotation and norm, and dgain as well.
struct RopeBackwardArgs {
  Tensor dy_NHD;
  Tensor dx_NHD;
  Tensor position_N;
  Tensor cos_PE;
  Tensor sin_PE;
  Tensor x_NHD;  ///< the forward input, needed with gain only
  Tensor gain_D;
  Tensor rstd_NH;
  Tensor dgain_D;  ///< fp32 *accumulated*: heads in index order inside a token, tokens in fixed blocks in index order
};

/// Causal scaled-dot-product attention with grouped queries: y = softmax(scale * q k^T) v. Query i of a sequence (of
/// Tq) sits at position i + (Tk - Tq) of the keys and sees keys [first, position], where first comes from first_BT.
struct AttentionForwardArgs {
  Tensor q_BTHD;
  Tensor k_BTKD;
  Tensor v_BTKD;
  Tensor y_BTHD;
  Tensor lse_BHT;   ///< fp32 log-sum-exp of the scaled scores, saved for the backward pass
  Tensor first_BT;  ///< int32: first visible key of each query; undefined means 0 (no document mask)
  double scale = 1.0;
};

struct AttentionBackwardArgs {
  Tensor q_BTHD;
  Tensor k_BTKD;
  Tensor v_BTKD;
  Tensor y_BTHD;
  Tensor lse_BHT;
  Tensor first_BT;
  Tensor dy_BTHD;
  Tensor dq_BTHD;  ///< overwritten, as are dk and dv (query heads of a group add in index order, in fp32)
  Tensor dk_BTKD;
  Tensor dv_BTKD;
  double scale = 1.0;
};

/// y = silu(gate) * up (Shazeer 2020, "GLU variants improve transformer").
struct SwigluForwardArgs {
  Tensor gate_NF;
  Tensor up_NF;
  Tensor y_NF;
};
/// dgate / dup are overwritten and may be gate / up themselves.
struct SwigluBackwardArgs {
  Tensor gate_NF;
  Tensor up_NF;
  Tensor dy_NF;
  Tensor dgate_NF;
  Tensor dup_NF;
};

/// y[n] = scale * table[token[n] - first_row]; zero where the row is outside the table (another rank's slice has it).
struct EmbeddingForwardArgs {
  Tensor token_N;  ///< int32
  Tensor table_VC;
  Tensor y_NC;
  std::int64_t first_row = 0;
  double scale = 1.0;
};
/// dtable[token[n] - first_row] += scale * dy[n], tokens in index order; rows outside the table are skipped.
struct EmbeddingBackwardArgs {
  Tensor token_N;
  Tensor dy_NC;
  Tensor dtable_VC;  ///< fp32 *accumulated*
  std::int64_t first_row = 0;
  double scale = 1.0;
};

/// Cross-entropy over vocabulary slices, in three passes over one chunk of tokens, so that only that chunk's logits
/// exist. Columns beyond `columns` are padding: they never count, and their gradient is zero.
struct LogitsMaxArgs {
  Tensor logits_NV;      ///< fp32; multiplied in place by logit_scale
  Tensor max_N;          ///< fp32: the row maximum of this slice
  bool combine = false;  ///< max becomes the larger of its old value and the row maximum (a further slice)
  std::int64_t columns = 0;
  double logit_scale = 1.0;
};
struct LogitsExpSumArgs {
  Tensor logits_NV;       ///< replaced by exp(logit - max)
  Tensor max_N;           ///< the global maximum
  Tensor sum_N;           ///< fp32: the row sum of this slice, in a fixed order
  Tensor target_N;        ///< int32
  Tensor target_logit_N;  ///< fp32: logit - max of the target where this slice holds it; other rows are left alone
  std::int64_t columns = 0;
  std::int64_t first_row = 0;  ///< vocabulary index of column 0
};
/// dlogits = (exp / sum - onehot(target)) * logit_scale, into another buffer of compute type (may alias when fp32).
struct LogitsGradientArgs {
  Tensor exp_NV;
  Tensor sum_N;  ///< the global sum
  Tensor target_N;
  Tensor dlogits_NV;
  std::int64_t columns = 0;
  std::int64_t first_row = 0;
  double logit_scale = 1.0;
};
/// loss[n] = log(sum[n]) - target_logit[n].
struct TokenLossArgs {
  Tensor sum_N;
  Tensor target_logit_N;
  Tensor loss_N;  ///< fp32
};

/// The grain tree: out = round(scale * tree(leaves) [+ residual]). The balanced binary tree over leaf index, inner
/// nodes in fp32, one rounding at the root; a power of two of leaves.
struct TreeAddArgs {
  std::span<const Tensor> leaves_NC;
  Tensor out_NC;
  Tensor residual_NC;  ///< undefined: none; may be out itself
  double scale = 1.0;
};

/// out = in * scale, converting between element types; one rounding.
struct CastArgs {
  Tensor in;
  Tensor out;
  double scale = 1.0;
};

/// to = from, bit for bit: contiguous tensors of one type and size that do not overlap.
struct CopyArgs {
  Tensor from;
  Tensor to;
};

/// to = from: host memory to the device and back. An upload may be under way when the call returns, but `from` is free
/// again; a download is done on return. Contiguous tensors.
struct UploadArgs {
  const void* from = nullptr;
  Tensor to;
};
struct DownloadArgs {
  Tensor from;
  void* to = nullptr;
};

/// sum[b] = the losses of sequence b, widened to fp64 and added in position order from +0.
struct SequenceLossArgs {
  Tensor loss_BT;  ///< accumulator type; of complex values the real part
  Tensor sum_B;    ///< fp64
};

/// partial += fixed(gradient): each fp32 value as a 64-bit integer count of `2^unit_exponent`, rounded to nearest even.
/// When any value is not finite or reaches `limit` units, `unusable` becomes 1, and the contents of partial are
/// unspecified.
struct FixedPointArgs {
  Tensor gradient;  ///< fp32, flat
  Tensor partial;   ///< int64, flat, *accumulated* (or overwritten when `overwrite`)
  Tensor unusable;  ///< int32 [1]; left alone when all values are usable
  int unit_exponent = -40;
  double limit = 0x1p62;
  bool overwrite = false;
};

/// The gradient of a chunk in fp64: fixed-point sum * scale, or straight from fp32 contributions by the same rounding.
struct GradientSource {
  Tensor partial;                         ///< int64; undefined when the sum is still in `contributions`
  std::span<const Tensor> contributions;  ///< fp32 sums of the one replica, each converted to fixed point first
  int unit_exponent = -40;
  double limit = 0x1p62;
  double scale = 1.0;  ///< 2^unit_exponent / tokens, computed in fp64: gradient = fp32(fp64(sum) * scale)
};

/// Kernels::square_sums takes many of these: the sum of squares of the fp32 gradient values of one chunk, in fp64:
/// value i of the range goes to lane i % 8, then the lane tree of kernels/reference/reduce.h.
struct SquareSumArgs {
  GradientSource gradient;
  std::int64_t begin = 0;
  std::int64_t count = 0;
};
struct SquareSum {
  double sum = 0;
  bool valid = true;  ///< false: a contribution was not finite or out of range (void step)
};

/// AdamW (Loshchilov and Hutter 2019) on elements [begin, begin + count), in fp32 and in this order, every operation
/// rounded, no fma; u1 = 1 / correction1 and u2 = 1 / correction2 are rounded once for the call:
///   g = gradient * clip;  m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * (g * g);
///   w = w - learning_rate * ((m * u1) / (sqrt(v * u2) + eps) + weight_decay * w).
/// The call also gives how far each range moved: the sum of (fp64(new w) - fp64(old w))^2 over its elements, every
/// operation rounded to fp64, in the pair tree of kernels/reference/reduce.h.
/// Contributions are not judged again: square_sums has done so, and an unusable value counts as 0 here.
struct AdamwArgs {
  GradientSource gradient;
  Tensor master;  ///< fp32, *updated*, as are both moments
  Tensor moment1;
  Tensor moment2;
  Tensor weight;  ///< compute type, overwritten with the rounded master; undefined when it is the master itself
  std::int64_t begin = 0;
  std::int64_t count = 0;
  float clip = 1;
  float learning_rate = 0;
  float beta1 = 0.9F;
  float beta2 = 0.95F;
  float eps = 1e-8F;
  float weight_decay = 0;
  float correction1 = 1;  ///< 1 - beta1^t
  float correction2 = 1;  ///< 1 - beta2^t
};

/// What an experiment asks of the operations on one rank, to plan their working memory.
struct WorkShape {
  std::int64_t sequences = 1;  ///< of a micro-batch
  std::int64_t context = 1;
  std::int64_t hidden = 1;
  std::int64_t heads = 1;  ///< of one slice, as kv_heads
  std::int64_t kv_heads = 1;
  std::int64_t head_width = 1;
  bool document_mask = false;
  std::int64_t state_chunks = 0;  ///< that this rank updates
  std::int64_t tokens() const { return sequences * context; }
};

/// The virtual interface. Operations are ordered: each sees the results of the ones before it.
class Kernels {
 public:
  virtual ~Kernels() = default;

  /// What decides bits on this device, for the kernel set: name, instruction set, library versions.
  virtual std::string describe() const = 0;
  /// Where its tensors live.
  virtual Device device() const { return {}; }
  /// The stream that its operations are given to, a cudaStream_t; null on the CPU.
  virtual void* stream() const { return nullptr; }
  /// Where the host waits for the device, it calls `poll` now and then with the seconds that it has waited, so that a
  /// wait for ranks that are lost ends (Communicator::check_ranks).
  virtual void poll_while_waiting(std::function<void(double waited_s)> /*poll*/) {}

  /// For the memory plan: bytes that the device keeps beside a weight matrix for its two uses (b_is_weight, transposed
  /// or not), and the working memory that operations share.
  virtual std::int64_t packed_weight_bytes(const Tensor& /*weight*/) const { return 0; }
  virtual std::int64_t scratch_bytes(const WorkShape& /*shape*/) const { return 0; }

  virtual void matmul(const MatmulArgs& args) = 0;
  virtual void absolute_max(const AbsoluteMaxArgs& args) = 0;
  virtual void quantise(const QuantiseArgs& args) = 0;
  /// Packed copies of weights are stale from here on.
  virtual void weights_changed() {}
  virtual void rms_norm_forward(const RmsNormForwardArgs& args) = 0;
  virtual void rms_norm_backward(const RmsNormBackwardArgs& args) = 0;
  virtual void rope_forward(const RopeForwardArgs& args) = 0;
  virtual void rope_backward(const RopeBackwardArgs& args) = 0;
  virtual void attention_forward(const AttentionForwardArgs& args) = 0;
  virtual void attention_backward(const AttentionBackwardArgs& args) = 0;
  virtual void swiglu_forward(const SwigluForwardArgs& args) = 0;
  virtual void swiglu_backward(const SwigluBackwardArgs& args) = 0;
  virtual void embedding_forward(const EmbeddingForwardArgs& args) = 0;
  virtual void embedding_backward(const EmbeddingBackwardArgs& args) = 0;
  virtual void logits_max(const LogitsMaxArgs& args) = 0;
  virtual void logits_exp_sum(const LogitsExpSumArgs& args) = 0;
  virtual void logits_gradient(const LogitsGradientArgs& args) = 0;
  virtual void token_loss(const TokenLossArgs& args) = 0;
  virtual void tree_add(const TreeAddArgs& args) = 0;
  virtual void cast(const CastArgs& args) = 0;
  virtual void fill_zero(const Tensor& tensor) = 0;
  virtual void copy(const CopyArgs& args) = 0;
  virtual void upload(const UploadArgs& args) = 0;
  virtual void download(const DownloadArgs& args) = 0;
  virtual void sequence_loss(const SequenceLossArgs& args) = 0;
  virtual void fixed_point_accumulate(const FixedPointArgs& args) = 0;
  /// Many chunks in one call, spread over the device; results[i], on the host, belongs to args[i].
  virtual void square_sums(std::span<const SquareSumArgs> args, std::span<SquareSum> results) = 0;
  /// Multi-tensor: many ranges in one call; ranges do not overlap. square_moves[i], on the host, belongs to args[i].
  virtual void adamw(std::span<const AdamwArgs> args, std::span<double> square_moves) = 0;
};

enum class ScalarKind : std::uint8_t { kFloat, kDouble, kComplex };

/// The scalar-templated specification (kernels/reference). kFloat serves fp32 and bf16 tensors; kDouble and kComplex
/// are the gradient oracle and serve only their own element type. Single-threaded.
std::unique_ptr<Kernels> make_reference_kernels(ScalarKind kind);
/// Fast kernels for this CPU: own matmuls on fixed tiles and own vectorised rest, over `pool` (which must outlive
/// it).
std::unique_ptr<Kernels> make_cpu_kernels(ThreadPool& pool);
/// Kernels for a CUDA device: cuBLASLt matmuls, cuDNN attention and own fused rest, on a stream of their own. Throws
/// when this build has no CUDA (kernels/cuda_none.cpp).
std::unique_ptr<Kernels> make_cuda_kernels(Device device);

}  // namespace baekji
