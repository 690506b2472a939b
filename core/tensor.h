#pragma once
// Tensor: a non-owning, typed, strided view of device memory.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/device.h"
#include "core/types.h"

namespace baekji {

/// A view of up to four dims. Copying copies the view, never the data; the memory belongs to an Arena (or to a test).
/// Strides count elements. `dims[i]` beyond `rank` are 1. A default-constructed Tensor is empty (`defined()` is false).
class Tensor {
 public:
  static constexpr int kMaxRank = 4;

  Tensor() = default;
  /// A contiguous (row-major) view of memory on `device`.
  Tensor(void* data, DType type, std::initializer_list<std::int64_t> dims, Device device = {});

  bool defined() const { return data_ != nullptr; }
  void* data() const { return data_; }
  DType type() const { return type_; }
  Device device() const { return device_; }
  int rank() const { return rank_; }
  std::int64_t dim(int i) const { return dims_[static_cast<std::size_t>(i)]; }
  std::int64_t stride(int i) const { return strides_[static_cast<std::size_t>(i)]; }
  std::int64_t size() const { return dims_[0] * dims_[1] * dims_[2] * dims_[3]; }
  std::int64_t size_bytes() const { return size() * size_of(type_); }
  bool contiguous() const;

  /// The elements as T, for code on the host; throws when T is not this tensor's element type, or when the host cannot
  /// read its memory.
  template <class T>
  T* as() const {
    check_on_host();
    return device_as<T>();
  }
  /// The same for code that runs where the memory is; only the type is checked.
  template <class T>
  T* device_as() const {
    check_type(dtype_of<T>());
    return static_cast<T*>(data_);
  }

  /// The same elements in another shape of equal size. Requires a contiguous view.
  Tensor view(std::initializer_list<std::int64_t> dims) const;
  /// Indices [begin, begin + count) of dim 0.
  Tensor rows(std::int64_t begin, std::int64_t count) const;
  /// Indices [begin, begin + count) of the last dim; strides stay.
  Tensor columns(std::int64_t begin, std::int64_t count) const;
  /// Splits the last dim into [count, last / count]; strides stay, so it works on column ranges too.
  Tensor split_last(std::int64_t count) const;
  /// Splits dim 0 into [count, dim0 / count]; strides stay.
  Tensor split_first(std::int64_t count) const;

  /// The same view, strides and all, of other memory that holds the same.
  Tensor relocated(void* data, Device device) const;

  /// "fp32[4, 128]", for errors and tables; "cuda 0 fp32[4, 128]" where it is not the host's.
  std::string describe() const;

 private:
  void check_type(DType wanted) const;
  void check_on_host() const;
  std::byte* at_offset(std::int64_t elements) const {
    return static_cast<std::byte*>(data_) + elements * size_of(type_);
  }

  void* data_ = nullptr;
  DType type_ = DType::kFloat32;
  Device device_;
  int rank_ = 0;
  std::array<std::int64_t, kMaxRank> dims_{1, 1, 1, 1};
  std::array<std::int64_t, kMaxRank> strides_{1, 1, 1, 1};
};

}  // namespace baekji
