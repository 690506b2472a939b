#include "core/tensor.h"

#include <cstddef>

namespace baekji {

Tensor::Tensor(void* data, DType type, std::initializer_list<std::int64_t> dims, Device device)
    : data_(data), type_(type), device_(device), rank_(static_cast<int>(dims.size())) {
  if (dims.size() > kMaxRank) throw Error("a tensor has at most four dims").values("4", fmt::format("{}", dims.size()));
  std::size_t i = 0;
  for (const std::int64_t extent : dims) dims_[i++] = extent;
  std::int64_t stride = 1;
  for (int d = rank_ - 1; d >= 0; --d) {
    strides_[static_cast<std::size_t>(d)] = stride;
    stride *= dims_[static_cast<std::size_t>(d)];
  }
}

bool Tensor::contiguous() const {
  std::int64_t expected = 1;
  for (int d = rank_ - 1; d >= 0; --d) {
    if (dim(d) != 1 && stride(d) != expected) return false;
    expected *= dim(d);
  }
  return true;
}

Tensor Tensor::view(std::initializer_list<std::int64_t> dims) const {
  Tensor result(data_, type_, dims, device_);
  if (!contiguous()) throw Error("only a contiguous tensor can be viewed in another shape").at(describe());
  require_equal(size(), result.size(), "a view must keep the number of elements", describe());
  return result;
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t count) const {
  if (begin < 0 || count < 0 || begin + count > dim(0)) {
    throw Error("row range outside the tensor")
        .values(fmt::format("0..{}", dim(0)), fmt::format("{}..{}", begin, begin + count))
        .at(describe());
  }
  Tensor result = *this;
  result.data_ = at_offset(begin * stride(0));
  result.dims_[0] = count;
  return result;
}

Tensor Tensor::columns(std::int64_t begin, std::int64_t count) const {
  const std::size_t last = static_cast<std::size_t>(rank_ - 1);
  if (begin < 0 || count < 0 || begin + count > dims_[last]) {
    throw Error("column range outside the tensor")
        .values(fmt::format("0..{}", dims_[last]), fmt::format("{}..{}", begin, begin + count))
        .at(describe());
  }
  Tensor result = *this;
  result.data_ = at_offset(begin * strides_[last]);
  result.dims_[last] = count;
  return result;
}

Tensor Tensor::split_last(std::int64_t count) const {
  const std::size_t last = static_cast<std::size_t>(rank_ - 1);
  if (rank_ == kMaxRank || count <= 0 || dims_[last] % count != 0) {
    throw Error("the last dim cannot be split").values(fmt::format("a multiple of {}", count), describe());
  }
  Tensor result = *this;
  result.rank_ = rank_ + 1;
  result.dims_[last] = count;
  result.dims_[last + 1] = dims_[last] / count;
  result.strides_[last] = strides_[last] * (dims_[last] / count);
  result.strides_[last + 1] = strides_[last];
  return result;
}

Tensor Tensor::split_first(std::int64_t count) const {
  if (rank_ == kMaxRank || count <= 0 || dims_[0] % count != 0) {
    throw Error("dim 0 cannot be split").values(fmt::format("a multiple of {}", count), describe());
  }
  Tensor result = *this;
  result.rank_ = rank_ + 1;
  for (std::size_t d = static_cast<std::size_t>(rank_); d >= 1; --d) {
    result.dims_[d] = dims_[d - 1];
    result.strides_[d] = strides_[d - 1];
  }
  result.dims_[0] = count;
  result.dims_[1] = dims_[0] / count;
  result.strides_[1] = strides_[0];
  result.strides_[0] = strides_[0] * result.dims_[1];
  return result;
}

Tensor Tensor::relocated(void* data, Device device) const {
  Tensor result = *this;
  result.data_ = data;
  result.device_ = device;
  return result;
}

std::string Tensor::describe() const {
  std::string text = device_.is_host() ? "" : device_.describe() + " ";
  text += fmt::format("{}[", name_of(type_));
  for (int d = 0; d < rank_; ++d) text += fmt::format("{}{}", d == 0 ? "" : ", ", dim(d));
  return text + "]";
}

void Tensor::check_type(DType wanted) const {
  if (wanted != type_) throw Error("wrong element type").values(name_of(wanted), describe());
}

void Tensor::check_on_host() const {
  if (!device_.is_host()) throw Error("the host cannot read this tensor").values("memory of the host", describe());
}

}  // namespace baekji
