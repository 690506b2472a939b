#pragma once
// RMSNorm on the CPU: the arithmetic of kernels/reference/rms_norm.h, vectorised along rows and threaded over them.

#include <cmath>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/cpu/row_lanes.h"
#include "kernels/kernels.h"

namespace baekji::cpu {

/// The sums of a gain's gradient, one row per block of kRowBlock tokens, so that blocks may run in any order. Memory is
/// kept between calls.
class GainSums {
 public:
  /// Room for the blocks of `rows` tokens of `width` columns.
  void prepare(std::int64_t rows, std::int64_t width);
  /// The sums of the block that begins at `row`, set to +0.
  float* start_block(std::int64_t row);
  /// Adds every block to dgain, in block order.
  void add_to(const Tensor& dgain, ThreadPool& pool) const;

 private:
  std::vector<float> sums_;
  std::int64_t blocks_ = 0;
  std::int64_t width_ = 0;
};

/// 1 / sqrt(mean of squares + eps) of one row.
template <class X>
float reciprocal_rms(const X* x, std::int64_t width, float eps) {
  const float sum = row_fold(
      width, [](RowLanes v) { return v * v; }, x);
  return 1.0F / std::sqrt(sum / static_cast<float>(width) + eps);
}

void rms_norm_forward(const RmsNormForwardArgs& args, ThreadPool& pool);
void rms_norm_backward(const RmsNormBackwardArgs& args, ThreadPool& pool, GainSums& sums);

}  // namespace baekji::cpu
