#include "kernels/cuda/matmul_problem.h"

#include <algorithm>
#include <bit>

#include "kernels/check.h"

namespace baekji::cuda {
namespace {

constexpr std::uint64_t kStrictestAlignment = 16;
// Tensor cores read 8-bit operands in pieces of 16 bytes: cuBLAS documentation, cublasLtMatmul, requirements of FP8.
constexpr std::int64_t kPieceBytes = 16;

MatmulOperand operand(const Tensor& t, bool transpose = false) {
  MatmulOperand result{.type = t.type(), .transpose = transpose};
  result.row_elements = std::max<std::int64_t>({t.stride(0), t.dim(1), 1});
  const auto row_bytes = static_cast<std::uint64_t>(result.row_elements * size_of(t.type()));
  const auto address = static_cast<std::uint64_t>(std::bit_cast<std::uintptr_t>(t.data()));
  result.alignment = 1 << std::countr_zero(address | row_bytes | kStrictestAlignment);
  return result;
}

std::string types_of(const MatmulProblem& p) {
  return fmt::format("{} x {} -> {}{}", name_of(p.a.type), name_of(p.b.type), name_of(p.c.type),
                     p.accumulate ? ", accumulated" : "");
}

void check_types(const MatmulProblem& p) {
  const DType a = p.a.type;
  const DType b = p.b.type;
  const bool narrow_output = p.c.type == DType::kBfloat16 && !p.accumulate;
  const bool output = p.c.type == DType::kFloat32 || (a != DType::kFloat32 && narrow_output);
  const bool eight_bit = (a == DType::kFloat8E4M3 && b == DType::kFloat8E4M3) ||
                         (a == DType::kFloat8E4M3 && b == DType::kFloat8E5M2) ||
                         (a == DType::kFloat8E5M2 && b == DType::kFloat8E4M3);
  const bool inputs = (a == b && (a == DType::kFloat32 || a == DType::kBfloat16)) || eight_bit;
  if (inputs && output) return;
  throw Error("no CUDA matmul for these element types")
      .values(
          "fp32 x fp32 -> fp32; bf16 x bf16, e4m3 x e4m3, e4m3 x e5m2 or e5m2 x e4m3 -> bf16 or fp32; accumulation "
          "into fp32 only",
          types_of(p))
      .at("matmul " + p.describe());
}

void check_scales(const MatmulArgs& args, const MatmulProblem& p) {
  for (const Tensor* scale : {&args.scale_a, &args.scale_b}) {
    const bool usable = scale->defined() && scale->type() == DType::kFloat32 && scale->size() == 1;
    if (p.is_8_bit() ? usable : !scale->defined()) continue;
    throw Error(p.is_8_bit() ? "operands of 8 bits need their scales" : "only operands of 8 bits have scales")
        .values(p.is_8_bit() ? "fp32[1]" : "undefined", scale->defined() ? scale->describe() : "undefined")
        .at("matmul " + p.describe());
  }
}

void check_8_bit_form(const MatmulProblem& p) {
  if (p.a.transpose || !p.b.transpose) {
    throw Error("products of 8 bits need both operands with the inner dim last")
        .values("a [M, Inner], b [N, Inner] with transpose_b",
                fmt::format("transpose_a = {}, transpose_b = {}", p.a.transpose, p.b.transpose))
        .at("matmul " + p.describe())
        .hint("quantise() writes a transposed copy as well");
  }
  for (const MatmulOperand* m : {&p.a, &p.b, &p.c}) {
    const bool whole = m == &p.c || p.inner % kPieceBytes == 0;
    if (m->alignment == kPieceBytes && whole) continue;
    throw Error("products of 8 bits need rows that begin at, and operands that consist of, pieces of 16 bytes")
        .values("rows aligned to 16 bytes, Inner a multiple of 16",
                fmt::format("{} of matrix {} aligned to {}, Inner = {}", name_of(m->type),
                            m == &p.a ? "a" : (m == &p.b ? "b" : "c"), m->alignment, p.inner))
        .at("matmul " + p.describe())
        .hint("choose model.hidden and model.ffn so that their slices are multiples of 16");
  }
}

}  // namespace

std::string MatmulProblem::describe() const {
  return fmt::format("{}x{}x{} {}/{}{} x {}/{}{} -> {}{}/{} @{},{},{}", rows, columns, inner, name_of(a.type),
                     a.row_elements, a.transpose ? "'" : "", name_of(b.type), b.row_elements, b.transpose ? "'" : "",
                     accumulate ? "+" : "", name_of(c.type), c.row_elements, a.alignment, b.alignment, c.alignment);
}

MatmulProblem problem_of(const MatmulArgs& args, Device device) {
  check_arguments(args);
  const MatmulProblem problem{.rows = args.c.dim(0),
                              .columns = args.c.dim(1),
                              .inner = args.a.dim(args.transpose_a ? 0 : 1),
                              .a = operand(args.a, args.transpose_a),
                              .b = operand(args.b, args.transpose_b),
                              .c = operand(args.c),
                              .accumulate = args.accumulate};
  check_types(problem);
  check_scales(args, problem);
  if (problem.is_8_bit()) check_8_bit_form(problem);
  for (const Tensor* t : {&args.a, &args.b, &args.c, &args.scale_a, &args.scale_b}) {
    if (!t->defined() || t->device() == device) continue;
    throw Error("a kernel argument is on another device")
        .values(device.describe(), t->describe())
        .at("matmul " + problem.describe());
  }
  return problem;
}

}  // namespace baekji::cuda
