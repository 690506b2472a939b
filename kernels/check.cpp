#include "kernels/check.h"

#include <bit>

namespace baekji {
namespace {

// Shapes are compared as extents, so that a mismatch names tensor and operation; nothing is formatted on success.
void shape(const Tensor& t, std::initializer_list<std::int64_t> dims, std::string_view name,
           std::string_view operation) {
  bool same = t.defined() && t.rank() == static_cast<int>(dims.size());
  int d = 0;
  for (const std::int64_t extent : dims) {
    if (same && t.dim(d) != extent) same = false;
    ++d;
  }
  const bool dense = !same || t.rank() == 0 || t.dim(t.rank() - 1) <= 1 || t.stride(t.rank() - 1) == 1;
  if (same && dense) return;
  std::string wanted;
  for (const std::int64_t extent : dims) wanted += fmt::format("{}{}", wanted.empty() ? "[" : ", ", extent);
  throw Error(dense ? "a kernel argument has the wrong shape" : "the last dim of a kernel argument must be dense")
      .values(fmt::format("{} {}]", name, wanted), t.defined() ? t.describe() : "undefined")
      .at(operation);
}

void need_rank(const Tensor& t, int rank, std::string_view name, std::string_view operation) {
  if (t.defined() && t.rank() == rank) return;
  throw Error("a kernel argument has the wrong rank")
      .values(fmt::format("{} of rank {}", name, rank), t.defined() ? t.describe() : "undefined")
      .at(operation);
}

void flat(const Tensor& t, std::int64_t least, std::string_view name, std::string_view operation) {
  if (t.defined() && t.contiguous() && t.size() >= least) return;
  throw Error("a kernel argument must be contiguous and long enough")
      .values(fmt::format("{} of {} elements", name, least), t.defined() ? t.describe() : "undefined")
      .at(operation);
}

void columns_within(std::int64_t columns, const Tensor& t, std::string_view operation) {
  if (columns >= 0 && columns <= t.dim(1)) return;
  throw Error("more vocabulary columns than the slice holds")
      .values(fmt::format("0..{}", t.dim(1)), fmt::format("{}", columns))
      .at(operation);
}

void even_head(std::int64_t width, std::string_view operation) {
  if (width % 2 == 0) return;
  throw Error("rotary pairs need an even head width").values("an even number", fmt::format("{}", width)).at(operation);
}

void source(const GradientSource& g, std::int64_t begin, std::int64_t count, std::string_view operation) {
  if (begin < 0 || count < 0) {
    throw Error("a gradient range must not be negative")
        .values(">= 0", fmt::format("{}, {}", begin, count))
        .at(operation);
  }
  if (g.partial.defined()) {
    flat(g.partial, begin + count, "partial", operation);
    return;
  }
  if (g.contributions.empty()) {
    throw Error("a gradient source needs a fixed-point sum or contributions")
        .values("one of them", "neither")
        .at(operation);
  }
  for (const Tensor& t : g.contributions) flat(t, begin + count, "contribution", operation);
}

struct AttentionShapes {
  const Tensor& q;
  const Tensor& k;
  const Tensor& v;
  const Tensor& y;
  const Tensor& lse;
  const Tensor& first;
};

void attention(const AttentionShapes& s, std::string_view operation) {
  need_rank(s.q, 4, "q", operation);
  need_rank(s.k, 4, "k", operation);
  const std::int64_t b = s.q.dim(0);
  const std::int64_t t = s.q.dim(1);
  const std::int64_t h = s.q.dim(2);
  const std::int64_t d = s.q.dim(3);
  const std::int64_t keys = s.k.dim(1);
  const std::int64_t groups = s.k.dim(2);
  shape(s.q, {b, t, h, d}, "q", operation);
  shape(s.k, {b, keys, groups, d}, "k", operation);
  shape(s.v, {b, keys, groups, d}, "v", operation);
  shape(s.y, {b, t, h, d}, "y", operation);
  shape(s.lse, {b, h, t}, "lse", operation);
  if (s.first.defined()) shape(s.first, {b, t}, "first", operation);
  if (groups < 1 || h % groups != 0) {
    throw Error("query heads must be a multiple of key/value heads")
        .values(fmt::format("a multiple of {}", groups), fmt::format("{}", h))
        .at(operation);
  }
  if (keys < t) {
    throw Error("attention needs a key for every query")
        .values(fmt::format(">= {}", t), fmt::format("{}", keys))
        .at(operation);
  }
}

void scale_of(const Tensor& scale, bool wanted, std::string_view name, std::string_view operation) {
  if (wanted) return flat(scale, 1, name, operation);
  if (!scale.defined()) return;
  throw Error("only operands of 8 bits have scales").values(fmt::format("no {}", name), scale.describe()).at(operation);
}

void eight_bits(const MatmulArgs& args, std::string_view operation) {
  const DType a = args.a.type();
  const DType b = args.b.type();
  const bool pair = is_float8(a) && is_float8(b) && (a == DType::kFloat8E4M3 || b == DType::kFloat8E4M3);
  if (!pair) {
    throw Error("no product of these 8-bit types")
        .values("e4m3 x e4m3, e5m2 x e4m3 or e4m3 x e5m2", fmt::format("{} x {}", name_of(a), name_of(b)))
        .at(operation);
  }
  if (args.transpose_a || !args.transpose_b) {
    throw Error("8-bit operands have the inner dim last")
        .values("a [M, Inner], b [N, Inner] with transpose_b",
                fmt::format("transpose_a {}, transpose_b {}", args.transpose_a, args.transpose_b))
        .at(operation);
  }
  const DType c = args.c.type();
  if (c != DType::kFloat32 && (c != DType::kBfloat16 || args.accumulate)) {
    throw Error("no such result of 8-bit operands")
        .values("fp32, or bf16 that is overwritten", fmt::format("{}{}", name_of(c), args.accumulate ? " +=" : ""))
        .at(operation);
  }
}

}  // namespace

void check_arguments(const MatmulArgs& args) {
  constexpr std::string_view kName = "matmul";
  need_rank(args.a, 2, "a", kName);
  need_rank(args.b, 2, "b", kName);
  const std::int64_t m = args.a.dim(args.transpose_a ? 1 : 0);
  const std::int64_t inner = args.a.dim(args.transpose_a ? 0 : 1);
  const std::int64_t n = args.b.dim(args.transpose_b ? 0 : 1);
  shape(args.a, {args.a.dim(0), args.a.dim(1)}, "a", kName);
  if (args.transpose_b)
    shape(args.b, {n, inner}, "b", kName);
  else
    shape(args.b, {inner, n}, "b", kName);
  shape(args.c, {m, n}, "c", kName);
  const bool quantised = is_float8(args.a.type()) || is_float8(args.b.type());
  if (quantised) eight_bits(args, kName);
  scale_of(args.scale_a, quantised, "scale_a", kName);
  scale_of(args.scale_b, quantised, "scale_b", kName);
}

void check_arguments(const AbsoluteMaxArgs& args) {
  constexpr std::string_view kName = "absolute_max";
  need_rank(args.in, 2, "in", kName);
  shape(args.in, {args.in.dim(0), args.in.dim(1)}, "in", kName);
  shape(args.max, {1}, "max", kName);
}

void check_arguments(const QuantiseArgs& args) {
  constexpr std::string_view kName = "quantise";
  need_rank(args.in_NC, 2, "in", kName);
  const std::int64_t n = args.in_NC.dim(0);
  const std::int64_t c = args.in_NC.dim(1);
  shape(args.in_NC, {n, c}, "in", kName);
  shape(args.max, {1}, "max", kName);
  shape(args.scale, {1}, "scale", kName);
  if (args.out_NC.defined()) shape(args.out_NC, {n, c}, "out", kName);
  if (args.transposed_CN.defined()) shape(args.transposed_CN, {c, n}, "transposed", kName);
  if (!args.out_NC.defined() && !args.transposed_CN.defined()) {
    throw Error("nothing to quantise into").values("out, transposed or both", "neither").at(kName);
  }
  if (args.max.data() == args.scale.data()) {  // every block of a GPU reads max, at its own time
    throw Error("the scale must not overwrite max").values("two tensors", "one").at(kName);
  }
  // The type decides the scale, so there is one.
  if (args.out_NC.defined() && args.transposed_CN.defined() && args.out_NC.type() != args.transposed_CN.type()) {
    throw Error("both results of a quantisation must have one element type")
        .values(args.out_NC.describe(), args.transposed_CN.describe())
        .at(kName);
  }
}

void check_arguments(const RmsNormForwardArgs& args) {
  constexpr std::string_view kName = "rms_norm_forward";
  need_rank(args.x_NC, 2, "x", kName);
  const std::int64_t n = args.x_NC.dim(0);
  const std::int64_t c = args.x_NC.dim(1);
  shape(args.x_NC, {n, c}, "x", kName);
  shape(args.gain_C, {c}, "gain", kName);
  shape(args.y_NC, {n, c}, "y", kName);
  shape(args.rstd_N, {n}, "rstd", kName);
}

void check_arguments(const RmsNormBackwardArgs& args) {
  constexpr std::string_view kName = "rms_norm_backward";
  need_rank(args.x_NC, 2, "x", kName);
  const std::int64_t n = args.x_NC.dim(0);
  const std::int64_t c = args.x_NC.dim(1);
  shape(args.x_NC, {n, c}, "x", kName);
  shape(args.gain_C, {c}, "gain", kName);
  shape(args.rstd_N, {n}, "rstd", kName);
  shape(args.dy_NC, {n, c}, "dy", kName);
  shape(args.dx_NC, {n, c}, "dx", kName);
  shape(args.dgain_C, {c}, "dgain", kName);
}

void check_arguments(const RopeForwardArgs& args) {
  constexpr std::string_view kName = "rope_forward";
  need_rank(args.x_NHD, 3, "x", kName);
  need_rank(args.cos_PE, 2, "cos", kName);
  const std::int64_t n = args.x_NHD.dim(0);
  const std::int64_t h = args.x_NHD.dim(1);
  const std::int64_t d = args.x_NHD.dim(2);
  even_head(d, kName);
  shape(args.x_NHD, {n, h, d}, "x", kName);
  shape(args.y_NHD, {n, h, d}, "y", kName);
  shape(args.position_N, {n}, "position", kName);
  shape(args.cos_PE, {args.cos_PE.dim(0), d / 2}, "cos", kName);
  shape(args.sin_PE, {args.cos_PE.dim(0), d / 2}, "sin", kName);
  if (!args.gain_D.defined()) return;
  shape(args.gain_D, {d}, "gain", kName);
  shape(args.rstd_NH, {n, h}, "rstd", kName);
}

void check_arguments(const RopeBackwardArgs& args) {
  constexpr std::string_view kName = "rope_backward";
  need_rank(args.dy_NHD, 3, "dy", kName);
  need_rank(args.cos_PE, 2, "cos", kName);
  const std::int64_t n = args.dy_NHD.dim(0);
  const std::int64_t h = args.dy_NHD.dim(1);
  const std::int64_t d = args.dy_NHD.dim(2);
  even_head(d, kName);
  shape(args.dy_NHD, {n, h, d}, "dy", kName);
  shape(args.dx_NHD, {n, h, d}, "dx", kName);
  shape(args.position_N, {n}, "position", kName);
  shape(args.cos_PE, {args.cos_PE.dim(0), d / 2}, "cos", kName);
  shape(args.sin_PE, {args.cos_PE.dim(0), d / 2}, "sin", kName);
  if (!args.gain_D.defined()) return;
  shape(args.x_NHD, {n, h, d}, "x", kName);
  shape(args.gain_D, {d}, "gain", kName);
  shape(args.rstd_NH, {n, h}, "rstd", kName);
  shape(args.dgain_D, {d}, "dgain", kName);
}

void check_arguments(const AttentionForwardArgs& args) {
  attention({args.q_BTHD, args.k_BTKD, args.v_BTKD, args.y_BTHD, args.lse_BHT, args.first_BT}, "attention_forward");
}

void check_arguments(const AttentionBackwardArgs& args) {
  constexpr std::string_view kName = "attention_backward";
  attention({args.q_BTHD, args.k_BTKD, args.v_BTKD, args.y_BTHD, args.lse_BHT, args.first_BT}, kName);
  const Tensor& q = args.q_BTHD;
  const Tensor& k = args.k_BTKD;
  shape(args.dy_BTHD, {q.dim(0), q.dim(1), q.dim(2), q.dim(3)}, "dy", kName);
  shape(args.dq_BTHD, {q.dim(0), q.dim(1), q.dim(2), q.dim(3)}, "dq", kName);
  shape(args.dk_BTKD, {k.dim(0), k.dim(1), k.dim(2), k.dim(3)}, "dk", kName);
  shape(args.dv_BTKD, {k.dim(0), k.dim(1), k.dim(2), k.dim(3)}, "dv", kName);
}

void check_arguments(const SwigluForwardArgs& args) {
  constexpr std::string_view kName = "swiglu_forward";
  need_rank(args.gate_NF, 2, "gate", kName);
  const std::int64_t n = args.gate_NF.dim(0);
  const std::int64_t f = args.gate_NF.dim(1);
  shape(args.gate_NF, {n, f}, "gate", kName);
  shape(args.up_NF, {n, f}, "up", kName);
  shape(args.y_NF, {n, f}, "y", kName);
}

void check_arguments(const SwigluBackwardArgs& args) {
  constexpr std::string_view kName = "swiglu_backward";
  need_rank(args.gate_NF, 2, "gate", kName);
  const std::int64_t n = args.gate_NF.dim(0);
  const std::int64_t f = args.gate_NF.dim(1);
  shape(args.gate_NF, {n, f}, "gate", kName);
  shape(args.up_NF, {n, f}, "up", kName);
  shape(args.dy_NF, {n, f}, "dy", kName);
  shape(args.dgate_NF, {n, f}, "dgate", kName);
  shape(args.dup_NF, {n, f}, "dup", kName);
}

void check_arguments(const EmbeddingForwardArgs& args) {
  constexpr std::string_view kName = "embedding_forward";
  need_rank(args.table_VC, 2, "table", kName);
  need_rank(args.y_NC, 2, "y", kName);
  const std::int64_t n = args.y_NC.dim(0);
  const std::int64_t c = args.table_VC.dim(1);
  shape(args.token_N, {n}, "token", kName);
  shape(args.table_VC, {args.table_VC.dim(0), c}, "table", kName);
  shape(args.y_NC, {n, c}, "y", kName);
}

void check_arguments(const EmbeddingBackwardArgs& args) {
  constexpr std::string_view kName = "embedding_backward";
  need_rank(args.dtable_VC, 2, "dtable", kName);
  need_rank(args.dy_NC, 2, "dy", kName);
  const std::int64_t n = args.dy_NC.dim(0);
  const std::int64_t c = args.dtable_VC.dim(1);
  shape(args.token_N, {n}, "token", kName);
  shape(args.dtable_VC, {args.dtable_VC.dim(0), c}, "dtable", kName);
  shape(args.dy_NC, {n, c}, "dy", kName);
}

void check_arguments(const LogitsMaxArgs& args) {
  constexpr std::string_view kName = "logits_max";
  need_rank(args.logits_NV, 2, "logits", kName);
  shape(args.logits_NV, {args.logits_NV.dim(0), args.logits_NV.dim(1)}, "logits", kName);
  shape(args.max_N, {args.logits_NV.dim(0)}, "max", kName);
  columns_within(args.columns, args.logits_NV, kName);
}

void check_arguments(const LogitsExpSumArgs& args) {
  constexpr std::string_view kName = "logits_exp_sum";
  need_rank(args.logits_NV, 2, "logits", kName);
  const std::int64_t n = args.logits_NV.dim(0);
  shape(args.logits_NV, {n, args.logits_NV.dim(1)}, "logits", kName);
  shape(args.max_N, {n}, "max", kName);
  shape(args.sum_N, {n}, "sum", kName);
  shape(args.target_N, {n}, "target", kName);
  shape(args.target_logit_N, {n}, "target_logit", kName);
  columns_within(args.columns, args.logits_NV, kName);
}

void check_arguments(const LogitsGradientArgs& args) {
  constexpr std::string_view kName = "logits_gradient";
  need_rank(args.exp_NV, 2, "exp", kName);
  const std::int64_t n = args.exp_NV.dim(0);
  shape(args.exp_NV, {n, args.exp_NV.dim(1)}, "exp", kName);
  shape(args.sum_N, {n}, "sum", kName);
  shape(args.target_N, {n}, "target", kName);
  shape(args.dlogits_NV, {n, args.exp_NV.dim(1)}, "dlogits", kName);
  columns_within(args.columns, args.exp_NV, kName);
}

void check_arguments(const TokenLossArgs& args) {
  constexpr std::string_view kName = "token_loss";
  need_rank(args.sum_N, 1, "sum", kName);
  const std::int64_t n = args.sum_N.dim(0);
  shape(args.sum_N, {n}, "sum", kName);
  shape(args.target_logit_N, {n}, "target_logit", kName);
  shape(args.loss_N, {n}, "loss", kName);
}

void check_arguments(const TreeAddArgs& args) {
  constexpr std::string_view kName = "tree_add";
  if (!std::has_single_bit(args.leaves_NC.size())) {
    throw Error("the grain tree needs a power of two of leaves")
        .values("1, 2, 4, ...", fmt::format("{}", args.leaves_NC.size()))
        .at(kName);
  }
  need_rank(args.out_NC, 2, "out", kName);
  const std::int64_t n = args.out_NC.dim(0);
  const std::int64_t c = args.out_NC.dim(1);
  shape(args.out_NC, {n, c}, "out", kName);
  for (const Tensor& leaf : args.leaves_NC) {
    shape(leaf, {n, c}, "leaf", kName);
    if (leaf.type() != args.leaves_NC.front().type()) {
      throw Error("the leaves of a tree must have one element type")
          .values(args.leaves_NC.front().describe(), leaf.describe())
          .at(kName);
    }
  }
  if (args.residual_NC.defined()) shape(args.residual_NC, {n, c}, "residual", kName);
}

void check_arguments(const CastArgs& args) {
  const Tensor& in = args.in;
  const Tensor& out = args.out;
  bool same = in.defined() && out.defined() && in.rank() == out.rank();
  for (int d = 0; same && d < in.rank(); ++d) same = in.dim(d) == out.dim(d);
  if (!same) throw Error("a cast keeps the shape").values(in.describe(), out.describe()).at("cast");
}

void check_arguments(const CopyArgs& args) {
  const bool fits = args.from.type() == args.to.type() && args.from.size() == args.to.size() &&
                    args.from.contiguous() && args.to.contiguous();
  if (!fits) {
    throw Error("copy needs contiguous tensors of one type and size").values(args.from.describe(), args.to.describe());
  }
}

void check_arguments(const UploadArgs& args) {
  flat(args.to, 0, "to", "upload");
}

void check_arguments(const DownloadArgs& args) {
  flat(args.from, 0, "from", "download");
}

void check_arguments(const SequenceLossArgs& args) {
  constexpr std::string_view kName = "sequence_loss";
  need_rank(args.loss_BT, 2, "loss", kName);
  flat(args.loss_BT, 0, "loss", kName);
  shape(args.sum_B, {args.loss_BT.dim(0)}, "sum", kName);
}

void check_arguments(const FixedPointArgs& args) {
  constexpr std::string_view kName = "fixed_point_accumulate";
  flat(args.unusable, 1, "unusable", kName);
  flat(args.gradient, 0, "gradient", kName);
  flat(args.partial, args.gradient.size(), "partial", kName);
  require_equal(args.gradient.size(), args.partial.size(), "gradient and partial must be equally long", kName);
}

void check_arguments(const SquareSumArgs& args) {
  source(args.gradient, args.begin, args.count, "square_sums");
}

void check_arguments(const AdamwArgs& args) {
  constexpr std::string_view kName = "adamw";
  source(args.gradient, args.begin, args.count, kName);
  const std::int64_t end = args.begin + args.count;
  flat(args.master, end, "master", kName);
  flat(args.moment1, end, "moment1", kName);
  flat(args.moment2, end, "moment2", kName);
  if (args.weight.defined()) flat(args.weight, end, "weight", kName);
}

void check_position(std::int64_t position, std::int64_t positions) {
  if (position >= 0 && position < positions) return;
  throw Error("a position outside the rotary tables")
      .values(fmt::format("0..{}", positions - 1), fmt::format("{}", position))
      .at("rope");
}

}  // namespace baekji
