#include "kernels/cuda/ordered_keys.h"

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/cuda/launch.cuh"

namespace baekji::cuda {
namespace {

constexpr int kThreads = 256;

template <class Integer>
__device__ Integer turned(Integer bits) {
  return bits < 0 ? bits ^ std::numeric_limits<Integer>::max() : bits;
}

// `nan_above`: the bits of infinity; larger magnitudes are NaNs.
template <class Integer>
__global__ void keys_kernel(const Integer* bits, Integer* keys, std::int64_t count, Integer nan_above) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const Integer x = bits[i];
  const bool nan = (x & std::numeric_limits<Integer>::max()) > nan_above;
  keys[i] = nan ? std::numeric_limits<Integer>::max() : turned(x);
}

template <class Integer>
__global__ void values_kernel(const Integer* keys, Integer* bits, std::int64_t count, Integer quiet_nan) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const Integer key = keys[i];
  bits[i] = key == std::numeric_limits<Integer>::max() ? quiet_nan : turned(key);
}

template <class Integer, class Float>
constexpr Integer bits_of(Float value) {
  return std::bit_cast<Integer>(value);
}

// The bits of a number and its key have one width, so an integer type stands for both.
template <class Integer>
Integer* as_integers(const Tensor& tensor) {
  return static_cast<Integer*>(tensor.data());
}

LaunchShape shape_for(const Tensor& tensor) {
  return {.grid = dim3(blocks_for(tensor.size(), kThreads)), .block = dim3(kThreads)};
}

void check_types(const Tensor& values, const Tensor& keys) {
  const bool single = values.type() == DType::kFloat32 && keys.type() == DType::kInt32;
  const bool twice = values.type() == DType::kFloat64 && keys.type() == DType::kInt64;
  if ((single || twice) && values.size() == keys.size()) return;
  throw Error("numbers and their keys must have one width")
      .values("fp32 and int32, or fp64 and int64", values.describe() + " and " + keys.describe())
      .at("ordered keys");
}

}  // namespace

void ordered_keys(const Tensor& values, const Tensor& keys, cudaStream_t stream) {
  check_types(values, keys);
  if (values.type() == DType::kFloat32) {
    launch(shape_for(values), stream, "ordered keys", keys_kernel<std::int32_t>,
           as_integers<const std::int32_t>(values), as_integers<std::int32_t>(keys), values.size(),
           bits_of<std::int32_t>(std::numeric_limits<float>::infinity()));
  } else {
    launch(shape_for(values), stream, "ordered keys", keys_kernel<std::int64_t>,
           as_integers<const std::int64_t>(values), as_integers<std::int64_t>(keys), values.size(),
           bits_of<std::int64_t>(std::numeric_limits<double>::infinity()));
  }
}

void values_of_keys(const Tensor& keys, const Tensor& values, cudaStream_t stream) {
  check_types(values, keys);
  if (values.type() == DType::kFloat32) {
    launch(shape_for(values), stream, "values of keys", values_kernel<std::int32_t>,
           as_integers<const std::int32_t>(keys), as_integers<std::int32_t>(values), values.size(),
           bits_of<std::int32_t>(std::numeric_limits<float>::quiet_NaN()));
  } else {
    launch(shape_for(values), stream, "values of keys", values_kernel<std::int64_t>,
           as_integers<const std::int64_t>(keys), as_integers<std::int64_t>(values), values.size(),
           bits_of<std::int64_t>(std::numeric_limits<double>::quiet_NaN()));
  }
}

}  // namespace baekji::cuda
