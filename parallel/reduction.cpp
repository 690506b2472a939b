#include "parallel/reduction.h"

#include <cmath>

namespace baekji {
namespace {

template <class T>
T larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
    if (a == b) return std::signbit(a) ? b : a;  // +0 is larger than -0
  }
  return a > b ? a : b;
}

template <class T>
T sum(T a, T b) {
  using Unsigned = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
}

template <class T>
void combine_as(ReduceOp op, void* into, const void* from, std::int64_t count) {
  T* a = static_cast<T*>(into);
  const T* b = static_cast<const T*>(from);
  if constexpr (std::is_integral_v<T>) {
    if (op == ReduceOp::kSumInteger) {
      for (std::int64_t i = 0; i < count; ++i) a[i] = sum(a[i], b[i]);
      return;
    }
  }
  for (std::int64_t i = 0; i < count; ++i) a[i] = larger(a[i], b[i]);
}

}  // namespace

void combine(DType type, ReduceOp op, void* into, const void* from, std::int64_t count) {
  switch (type) {
    case DType::kInt32:
      return combine_as<std::int32_t>(op, into, from, count);
    case DType::kInt64:
      return combine_as<std::int64_t>(op, into, from, count);
    case DType::kFloat32:
      return combine_as<float>(op, into, from, count);
    case DType::kFloat64:
      return combine_as<double>(op, into, from, count);
    default:
      return;
  }
}

}  // namespace baekji
