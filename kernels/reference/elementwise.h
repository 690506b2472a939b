#pragma once
// Reference grain tree, cast and fill.

#include <vector>

#include "kernels/check.h"
#include "kernels/reference/scalar.h"

namespace baekji::reference {

/// The balanced tree over leaves [0, size): neighbours first.
template <class Scalar>
std::vector<Scalar> tree_row(std::span<const Tensor> leaves, std::int64_t row, std::int64_t width) {
  if (leaves.size() == 1) return read_row<Scalar>(leaves.front(), row * leaves.front().stride(0), width);
  std::vector<Scalar> left = tree_row<Scalar>(leaves.first(leaves.size() / 2), row, width);
  const std::vector<Scalar> right = tree_row<Scalar>(leaves.subspan(leaves.size() / 2), row, width);
  for (std::size_t i = 0; i < left.size(); ++i) left[i] = left[i] + right[i];
  return left;
}

template <class Scalar>
void tree_add(const TreeAddArgs& args) {
  check_arguments(args);
  const Scalar scale = static_cast<Scalar>(args.scale);
  const std::int64_t width = args.out_NC.dim(1);
  for (std::int64_t n = 0; n < args.out_NC.dim(0); ++n) {
    std::vector<Scalar> sum = tree_row<Scalar>(args.leaves_NC, n, width);
    for (Scalar& value : sum) value = scale * value;
    if (args.residual_NC.defined()) {
      const std::vector<Scalar> residual = read_row<Scalar>(args.residual_NC, n * args.residual_NC.stride(0), width);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = sum[i] + residual[i];
    }
    write_row(args.out_NC, n * args.out_NC.stride(0), sum);
  }
}

/// Calls body(offsets...) for each run along the last dim of tensors of one shape, row-major; `width` is the run's
/// length.
template <class Body>
void for_each_row(const Tensor& a, const Tensor& b, const Body& body) {
  const int outer = a.rank() - 1;
  const std::int64_t width = a.rank() == 0 ? 1 : a.dim(outer);
  const std::int64_t rows = width == 0 ? 0 : a.size() / width;
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int64_t rest = r;
    std::int64_t offset_a = 0;
    std::int64_t offset_b = 0;
    for (int d = outer - 1; d >= 0; --d) {
      offset_a += rest % a.dim(d) * a.stride(d);
      offset_b += rest % a.dim(d) * b.stride(d);
      rest /= a.dim(d);
    }
    body(offset_a, offset_b, width);
  }
}

template <class Scalar>
void cast(const CastArgs& args) {
  check_arguments(args);
  const Scalar scale = static_cast<Scalar>(args.scale);
  for_each_row(args.in, args.out, [&](std::int64_t from, std::int64_t to, std::int64_t width) {
    std::vector<Scalar> row = read_row<Scalar>(args.in, from, width);
    for (Scalar& value : row) value = value * scale;
    write_row(args.out, to, row);
  });
}

/// All-zero bytes are zero in every element type.
inline void fill_zero(const Tensor& tensor) {
  for_each_row(tensor, tensor, [&](std::int64_t offset, std::int64_t /*same*/, std::int64_t width) {
    std::byte* to = static_cast<std::byte*>(tensor.data()) + offset * size_of(tensor.type());
    std::fill(to, to + width * size_of(tensor.type()), std::byte{0});
  });
}

inline void copy(const CopyArgs& args) {
  check_arguments(args);
  const auto* from = static_cast<const std::byte*>(args.from.data());
  std::copy(from, from + args.from.size_bytes(), static_cast<std::byte*>(args.to.data()));
}

/// Memory of the host is the device's own here.
inline void upload(const UploadArgs& args) {
  check_arguments(args);
  const auto* from = static_cast<const std::byte*>(args.from);
  std::copy(from, from + args.to.size_bytes(), static_cast<std::byte*>(args.to.data()));
}
inline void download(const DownloadArgs& args) {
  check_arguments(args);
  const auto* from = static_cast<const std::byte*>(args.from.data());
  std::copy(from, from + args.from.size_bytes(), static_cast<std::byte*>(args.to));
}

}  // namespace baekji::reference
