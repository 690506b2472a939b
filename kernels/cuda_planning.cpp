#include "kernels/cuda_planning.h"

#include <algorithm>
#include <bit>

#include "core/arena.h"
#include "kernels/reference/reduce.h"
#include "kernels/silent_kernels.h"

namespace baekji {
namespace {

constexpr int kHopper = 9;

class CudaPlanningKernels final : public SilentKernels {
 public:
  using SilentKernels::SilentKernels;

  std::string describe() const override { return "cuda, planned"; }
  Device device() const override { return {.kind = DeviceKind::kCuda}; }
  std::int64_t packed_weight_bytes(const Tensor& /*weight*/) const override { return 0; }
  std::int64_t scratch_bytes(const WorkShape& shape) const override { return cuda_scratch_bytes(shape, kHopper); }
};

}  // namespace

std::int64_t cuda_attention_bias_bytes(std::int64_t sequences, std::int64_t context) {
  return round_up(sequences * context * context * size_of(DType::kBfloat16), Arena::kAlignmentBytes);
}

std::int64_t cuda_own_attention_scratch_bytes(std::int64_t sequences, std::int64_t heads, std::int64_t context) {
  return sequences * heads * context * size_of(DType::kFloat32);
}

std::int64_t cuda_attention_scratch_bytes(const WorkShape& shape, int compute_major) {
  constexpr std::int64_t kSmall = 1024;
  constexpr std::int64_t kFloat = size_of(DType::kFloat32);
  const std::int64_t rows = shape.heads * shape.tokens();
  const std::int64_t statistics = rows * kFloat;
  const std::int64_t full_heads = shape.heads == shape.kv_heads ? 0 : 2 * rows * shape.head_width * kFloat;
  const std::int64_t scores = compute_major == kHopper ? shape.sequences * shape.heads * round_up(shape.context, 64) *
                                                             round_up(shape.context, 128) * size_of(DType::kBfloat16)
                                                       : 0;
  const std::int64_t bias = shape.document_mask ? cuda_attention_bias_bytes(shape.sequences, shape.context) : 0;
  return bias + scores + full_heads + statistics + kSmall;
}

std::int64_t cuda_scratch_bytes(const WorkShape& shape, int compute_major) {
  // A gain's sums by blocks of kRowBlock rows (kernels/cuda/rms_norm.cu); pairs of a token and its place, twice, for
  // sorting (embedding.cu); an entry and eight results for each chunk of the optimizer's state (optimizer.cu).
  constexpr std::int64_t kPairBytes = 8;
  constexpr std::int64_t kChunkBytes = 224;
  const std::int64_t gain = ceil_div(shape.tokens(), kRowBlock) * shape.hidden * size_of(DType::kFloat32);
  const auto sorted = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(shape.tokens())));
  const std::int64_t sort = 2 * sorted * kPairBytes;
  const std::int64_t tables = shape.state_chunks * kChunkBytes;
  return kCudaMatmulWorkspaceBytes + std::max({gain, sort, tables, cuda_attention_scratch_bytes(shape, compute_major)});
}

std::unique_ptr<Kernels> make_cuda_planning_kernels() {
  return std::make_unique<CudaPlanningKernels>(make_reference_kernels(ScalarKind::kFloat));
}

}  // namespace baekji
