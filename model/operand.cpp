#include "model/operand.h"

namespace baekji {

void OperandBuffer::bind(Kernels& kernels, Arena& arena, DType type, std::int64_t elements) {
  constexpr std::string_view kCategory = "8-bit operands";
  kernels_ = &kernels;
  bytes_ = arena.allocate(kCategory, type, {elements});
  max_ = arena.allocate(kCategory, DType::kFloat32, {1});
  scale_ = arena.allocate(kCategory, DType::kFloat32, {1});
}

Tensor OperandBuffer::copy(std::int64_t rows, std::int64_t columns) const {
  require_equal(rows * columns <= bytes_.size(), true, "an operand is larger than the memory for its copy", "operand");
  return bytes_.rows(0, rows * columns).view({rows, columns});
}

Operand OperandBuffer::plain(const Tensor& x_NC) const {
  if (kernels_ == nullptr) return {.values = x_NC};
  const Operand copied{.values = copy(x_NC.dim(0), x_NC.dim(1)), .scale = scale_};
  kernels_->absolute_max({.in = x_NC, .max = max_});
  kernels_->quantise({.in_NC = x_NC, .max = max_, .out_NC = copied.values, .scale = scale_});
  return copied;
}

Operand OperandBuffer::transposed(const Tensor& x_NC) const {
  if (kernels_ == nullptr) return {.values = x_NC};
  const Operand copied{.values = copy(x_NC.dim(1), x_NC.dim(0)), .scale = scale_};
  kernels_->absolute_max({.in = x_NC, .max = max_});
  kernels_->quantise({.in_NC = x_NC, .max = max_, .transposed_CN = copied.values, .scale = scale_});
  return copied;
}

}  // namespace baekji
