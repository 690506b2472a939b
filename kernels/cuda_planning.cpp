#include "kernels/cuda_planning.h"

#include "kernels/forwarding_kernels.h"

namespace baekji {
namespace {

// Operations go to the reference, which cannot read memory that was only measured.
class CudaPlanningKernels final : public ForwardingKernels {
 public:
  explicit CudaPlanningKernels(std::unique_ptr<Kernels> reference)
      : ForwardingKernels(*reference), reference_(std::move(reference)) {}

  std::string describe() const override { return "cuda, planned"; }
  Device device() const override { return {.kind = DeviceKind::kCuda}; }
  std::int64_t packed_weight_bytes(const Tensor& /*weight*/) const override { return 0; }
  std::int64_t scratch_bytes(std::int64_t /*context*/, std::int64_t /*head_width*/) const override {
    return kCudaMatmulWorkspaceBytes + kCudaScratchBytes;
  }

 private:
  std::unique_ptr<Kernels> reference_;
};

}  // namespace

std::unique_ptr<Kernels> make_cuda_planning_kernels() {
  return std::make_unique<CudaPlanningKernels>(make_reference_kernels(ScalarKind::kFloat));
}

}  // namespace baekji
