#pragma once
// Reference matmul: each dot product is a left fold of multiply-adds in index order of the inner dim. Of 8-bit operands
// it is the fold of the widened values, times the product of the two scales.

#include <vector>

#include "kernels/check.h"
#include "kernels/reference/scalar.h"

namespace baekji::reference {

namespace detail {

/// A matrix as [rows, columns] in Scalar, transposed first when asked.
template <class Scalar>
std::vector<Scalar> read_matrix(const Tensor& m, bool transpose) {
  const std::int64_t rows = m.dim(transpose ? 1 : 0);
  const std::int64_t columns = m.dim(transpose ? 0 : 1);
  std::vector<Scalar> result(static_cast<std::size_t>(rows * columns));
  for (std::int64_t i = 0; i < m.dim(0); ++i) {
    const std::vector<Scalar> row = read_row<Scalar>(m, i * m.stride(0), m.dim(1));
    for (std::int64_t j = 0; j < m.dim(1); ++j) {
      result[static_cast<std::size_t>(transpose ? j * columns + i : i * columns + j)] =
          row[static_cast<std::size_t>(j)];
    }
  }
  return result;
}

}  // namespace detail

template <class Scalar>
void matmul(const MatmulArgs& args) {
  check_arguments(args);
  const std::vector<Scalar> a = detail::read_matrix<Scalar>(args.a, args.transpose_a);
  const std::vector<Scalar> b = detail::read_matrix<Scalar>(args.b, args.transpose_b);
  const std::size_t columns = static_cast<std::size_t>(args.c.dim(1));
  const std::size_t inner = static_cast<std::size_t>(args.a.dim(args.transpose_a ? 0 : 1));
  const bool scaled = args.scale_a.defined();
  const Scalar scale = scaled ? Scalar(args.scale_a.as<float>()[0] * args.scale_b.as<float>()[0]) : Scalar(1);
  std::vector<Scalar> dots(columns);
  for (std::int64_t m = 0; m < args.c.dim(0); ++m) {
    std::fill(dots.begin(), dots.end(), Scalar(0));
    for (std::size_t k = 0; k < inner; ++k) {
      const Scalar left = a[static_cast<std::size_t>(m) * inner + k];
      for (std::size_t n = 0; n < columns; ++n) dots[n] = multiply_add(left, b[k * columns + n], dots[n]);
    }
    for (std::size_t n = 0; scaled && n < columns; ++n) dots[n] *= scale;
    const std::int64_t offset = m * args.c.stride(0);
    if (args.accumulate) {
      const std::vector<Scalar> old = read_row<Scalar>(args.c, offset, args.c.dim(1));
      for (std::size_t n = 0; n < columns; ++n) dots[n] = old[n] + dots[n];
    }
    write_row(args.c, offset, dots);
  }
}

}  // namespace baekji::reference
