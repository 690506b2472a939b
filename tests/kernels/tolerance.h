#pragma once
// How far a fast kernel may stand from the reference, as one table. Row-wise kernels are not in it: they must agree bit
// for bit (expect_same_bits). The error is measured against the largest reference value of the tensor, because a dot
// product's rounding errors scale with its largest terms, not with the element that cancellation leaves.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace baekji {

struct Tolerance {
  std::string_view operation;
  double fp32 = 0;
  double bf16 = 0;  ///< half a unit in the last place is 2^-9; two roundings of inputs and one of the output
};

inline constexpr Tolerance kTolerances[] = {
    {.operation = "matmul", .fp32 = 4e-6, .bf16 = 1e-2},
    {.operation = "attention_forward", .fp32 = 4e-6, .bf16 = 1e-2},
    {.operation = "attention_backward", .fp32 = 2e-5, .bf16 = 3e-2},
};

inline double tolerance_of(std::string_view operation, DType type) {
  for (const Tolerance& row : kTolerances) {
    if (row.operation == operation) return type == DType::kBfloat16 ? row.bf16 : row.fp32;
  }
  throw Error("no tolerance for this operation").values("a row of kTolerances", operation);
}

/// Every element of a tensor (any strides) of type fp32, bf16, fp64, int32 or 8 bits, row-major.
inline std::vector<double> values_of(const Tensor& t) {
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(t.size()));
  for (std::int64_t a = 0; a < t.dim(0); ++a) {
    for (std::int64_t b = 0; b < t.dim(1); ++b) {
      for (std::int64_t c = 0; c < t.dim(2); ++c) {
        for (std::int64_t d = 0; d < t.dim(3); ++d) {
          std::int64_t at = a * t.stride(0);
          if (t.rank() > 1) at += b * t.stride(1);
          if (t.rank() > 2) at += c * t.stride(2);
          if (t.rank() > 3) at += d * t.stride(3);
          switch (t.type()) {
            case DType::kBfloat16:
              values.push_back(static_cast<float>(t.as<Bfloat16>()[at]));
              break;
            case DType::kFloat64:
              values.push_back(t.as<double>()[at]);
              break;
            case DType::kInt32:
              values.push_back(t.as<std::int32_t>()[at]);
              break;
            case DType::kFloat8E4M3:
              values.push_back(static_cast<float>(t.as<Float8E4M3>()[at]));
              break;
            case DType::kFloat8E5M2:
              values.push_back(static_cast<float>(t.as<Float8E5M2>()[at]));
              break;
            default:
              values.push_back(static_cast<double>(t.as<float>()[at]));
              break;
          }
        }
      }
    }
  }
  return values;
}

/// The largest |got - want| over the largest |want|; infinity when either holds a NaN that the other does not.
inline double relative_error(const Tensor& got, const Tensor& want) {
  const std::vector<double> g = values_of(got);
  const std::vector<double> w = values_of(want);
  if (g.size() != w.size()) return HUGE_VAL;
  double largest = 0;
  double error = 0;
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (std::isnan(g[i]) && std::isnan(w[i])) continue;
    if (std::isnan(g[i]) || std::isnan(w[i])) return HUGE_VAL;
    largest = std::max(largest, std::fabs(w[i]));
    error = std::max(error, std::fabs(g[i] - w[i]));
  }
  return largest == 0 ? error : error / largest;
}

inline void expect_close(std::string_view operation, const Tensor& got, const Tensor& want) {
  EXPECT_LE(relative_error(got, want), tolerance_of(operation, got.type())) << operation << " " << got.describe();
}

/// Bit equality of two tensors of one type: the row-wise kernels' contract.
inline void expect_same_bits(const Tensor& got, const Tensor& want, std::string_view what) {
  ASSERT_EQ(got.type(), want.type()) << what;
  const std::vector<double> g = values_of(got);
  const std::vector<double> w = values_of(want);
  ASSERT_EQ(g.size(), w.size()) << what;
  for (std::size_t i = 0; i < g.size(); ++i) {
    // Widening to fp64 is injective, so the bits of the widened values decide; NaN payloads are not compared.
    const bool same =
        (std::isnan(g[i]) && std::isnan(w[i])) || (g[i] == w[i] && std::signbit(g[i]) == std::signbit(w[i]));
    ASSERT_TRUE(same) << what << " element " << i << " of " << got.describe() << ": got " << g[i] << ", want " << w[i];
  }
}

}  // namespace baekji
