// The graphs that attention gives to cuDNN, without a GPU: cuDNN is told of a device instead (its ahead-of-time
// compilation, since 9.8) and asked whether it has deterministic engines. Nothing is compiled for the device or run
// here.

#include <dlfcn.h>
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/cudnn_plan.h"
#include "kernels/cuda_planning.h"

namespace baekji::cuda {
namespace {

struct DescribedDevice {
  std::string name;
  int compute_capability = 0;
  int multiprocessors = 0;
  std::int64_t l2_bytes = 0;
  std::int64_t memory_bytes = 0;

  int major() const { return compute_capability / 10; }
  /// In cuDNN's JSON form. Clocks, bus number and the like decide nothing here.
  std::string json() const {
    return fmt::format(
        R"({{"deviceVer":{},"driverVer":13000,"cudaDeviceId":0,"totalGlobalMem":{},)"
        R"("maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,)"
        R"("multiProcessorCount":{},"warpSize":32,"maxSharedMemoryPerBlock":49152,)"
        R"("maxSharedMemoryPerBlockOptin":232448,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,)"
        R"("maxCtasPerSM":32,"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
        R"("supportCoopLaunch":1,"smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":{},)"
        R"("deviceName":"{}"}})",
        compute_capability * 10, memory_bytes, multiprocessors, l2_bytes, name);
  }
};

const std::vector<DescribedDevice>& devices() {
  static const std::vector<DescribedDevice> kDevices{{"NVIDIA H100", 90, 132, 52428800, 85899345920},
                                                     {"NVIDIA B200", 100, 148, 132644864, 191126044672}};
  return kDevices;
}

struct Shape {
  std::string what;
  std::int64_t sequences, tokens, heads, kv_heads, width;
};

/// q, k and v are columns of one buffer, as are their gradients.
AttentionProblem problem_of(const Shape& s, bool backward, bool documents) {
  const std::int64_t row = (s.heads + 2 * s.kv_heads) * s.width;
  const HeadStrides fused{.sequence = s.tokens * row, .row = row, .head = s.width};
  const HeadStrides dense{.sequence = s.tokens * s.heads * s.width, .row = s.heads * s.width, .head = s.width};
  AttentionProblem problem{.backward = backward,
                           .document_mask = documents,
                           .sequences = s.sequences,
                           .tokens = s.tokens,
                           .heads = s.heads,
                           .kv_heads = s.kv_heads,
                           .width = s.width,
                           .q = fused,
                           .k = fused,
                           .v = fused,
                           .y = dense,
                           .scale = 0.088F};
  if (backward) {
    problem.dy = dense;
    problem.dq = problem.dk = problem.dv = fused;
  }
  return problem;
}

std::vector<Shape> shapes() {
  return {{"1.3B", 4, 4096, 16, 16, 128},
          {"8B", 1, 8192, 32, 8, 128},
          {"32B, a slice of 8", 1, 4096, 8, 1, 128},
          {"72B, a slice of 8", 1, 8192, 8, 1, 128},
          {"narrow heads", 2, 1024, 12, 4, 64},
          {"an odd length", 1, 4000, 8, 2, 96}};
}

WorkShape work_shape_of(const Shape& s, bool documents) {
  return {.sequences = s.sequences,
          .context = s.tokens,
          .heads = s.heads,
          .kv_heads = s.kv_heads,
          .head_width = s.width,
          .document_mask = documents};
}

/// cuDNN loads the driver to ask it nothing of importance: where there is none, the toolkit's stub will do. It is found
/// by its name inside the process.
bool driver_or_stub() {
  static const bool kLoaded =
      dlopen("libcuda.so.1", RTLD_NOW) != nullptr || dlopen(BAEKJI_CUDA_STUB, RTLD_NOW) != nullptr;
  return kLoaded;
}

TEST(AttentionGraph, CudnnHasDeterministicEnginesWithinThePlannedMemory) {
  const bool engines = driver_or_stub();
  int checked = 0;
  for (const DescribedDevice& device : devices()) {
    for (const Shape& s : shapes()) {
      for (const bool documents : {false, true}) {
        const WorkShape shape = work_shape_of(s, documents);
        const std::int64_t bias = documents ? s.sequences * s.tokens * s.tokens * 2 : 0;
        // The caller's part, and what the front end keeps for itself.
        const std::int64_t planned = cuda_attention_scratch_bytes(shape, device.major()) - bias;
        const std::int64_t statistics = s.sequences * s.heads * s.tokens * 4;
        for (const bool backward : {false, true}) {
          const AttentionProblem problem = problem_of(s, backward, documents);
          SCOPED_TRACE(fmt::format("{}, {}: {}", device.name, s.what, problem.describe()));
          CudnnPlan plan(problem, device.compute_capability);
          const PlanCheck check = plan.check(device.json(), planned - statistics);
          EXPECT_TRUE(check.valid) << check.stopped;
          EXPECT_TRUE(check.lowered) << check.stopped;
          if (!engines) continue;
          EXPECT_TRUE(check.proposed) << check.stopped;
          EXPECT_TRUE(check.supported) << check.stopped;
          ++checked;
        }
      }
    }
  }
  fmt::print("{} graphs have engines; none was compiled for a device, none was run\n", checked);
  if (!engines) GTEST_SKIP() << "graphs are valid; engines were not asked for: no driver and no stub of it";
}

TEST(AttentionGraph, ThePlannedMemoryIsNotMuchMoreThanNeeded) {
  if (!driver_or_stub()) GTEST_SKIP() << "no driver and no stub of it";
  for (const DescribedDevice& device : devices()) {
    const Shape s = shapes()[2];
    const WorkShape shape = work_shape_of(s, false);
    CudnnPlan plan(problem_of(s, true, false), device.compute_capability);
    const PlanCheck check = plan.check(device.json(), cuda_attention_scratch_bytes(shape, device.major()) / 2);
    EXPECT_FALSE(check.supported) << device.name;
  }
}

TEST(AttentionGraph, WidthsEndWhereSupportEnds) {
  if (!driver_or_stub()) GTEST_SKIP() << "no driver and no stub of it";
  for (const DescribedDevice& device : devices()) {
    for (const std::int64_t width : {64, 80, 128, 136, 256}) {
      CudnnPlan plan(problem_of({"", 1, 1024, 4, 2, width}, true, false), device.compute_capability);
      const PlanCheck check = plan.check(device.json(), std::int64_t{1} << 40);
      EXPECT_EQ(check.supported, width <= (device.major() == 9 ? 256 : 128))
          << device.name << " " << width << ": " << check.stopped;
    }
  }
}

}  // namespace
}  // namespace baekji::cuda
