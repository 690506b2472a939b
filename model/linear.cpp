#include "model/linear.h"

namespace baekji {

void Linear::forward(std::size_t slice, const Operand& x_NI, const Tensor& y_NO, const Workspace& w) const {
  const Operand w_OI = w.operands.weight.plain(c_.parameters.weight(weight_, static_cast<std::int64_t>(slice)));
  c_.kernels.matmul({.a = x_NI.values,
                     .b = w_OI.values,
                     .c = y_NO,
                     .transpose_b = true,
                     .b_is_weight = !c_.types.float8_linear,
                     .scale_a = x_NI.scale,
                     .scale_b = w_OI.scale});
}

void Linear::backward_input(std::size_t slice, const Operand& dy_NO, const Tensor& dx_NI, const Workspace& w) const {
  // [O, I], or its 8-bit copy [I, O].
  const Operand weight = w.operands.weight.transposed(c_.parameters.weight(weight_, static_cast<std::int64_t>(slice)));
  c_.kernels.matmul({.a = dy_NO.values,
                     .b = weight.values,
                     .c = dx_NI,
                     .transpose_b = c_.types.float8_linear,
                     .b_is_weight = !c_.types.float8_linear,
                     .scale_a = dy_NO.scale,
                     .scale_b = weight.scale});
}

void Linear::backward_weight(std::size_t slice, const Operand& dy, const Operand& x) const {
  // [N, O] and [N, I], or their 8-bit copies [O, N] and [I, N].
  c_.kernels.matmul({.a = dy.values,
                     .b = x.values,
                     .c = c_.parameters.gradient(weight_, static_cast<std::int64_t>(slice), 0),
                     .transpose_a = !c_.types.float8_linear,
                     .transpose_b = c_.types.float8_linear,
                     .accumulate = true,
                     .scale_a = dy.scale,
                     .scale_b = x.scale});
}

void validate_float8(const ModelConfig& m, std::int64_t grains, std::int64_t tokens, const std::string& place) {
  constexpr std::int64_t kMultiple = 16;
  const auto require = [&](std::int64_t value, const char* what) {
    if (value % kMultiple == 0) return;
    throw Error("8-bit matrix products need dims that are multiples of 16")
        .values(fmt::format("{}: a multiple of {}", what, kMultiple), fmt::format("{}", value))
        .at(place)
        .hint("change the shape, tensor_grains or micro_batch, or take precision = \"bf16\"");
  };
  require(m.hidden, "hidden");
  require(m.heads * m.head_width() / grains, "heads * head_dim / tensor_grains");
  require((m.heads + 2 * m.kv_heads) * m.head_width() / grains, "(heads + 2 kv_heads) * head_dim / tensor_grains");
  require(m.ffn / grains, "ffn / tensor_grains");
  require(tokens, "micro_batch * context");
}

}  // namespace baekji
