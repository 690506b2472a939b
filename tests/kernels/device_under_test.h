#pragma once
// Which device the cases of tests/kernels are about: the CPU, or what BAEKJI_TEST_DEVICE names. ctest runs the same
// program for both (tests/CMakeLists.txt).

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device_cuda.h"
#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "tests/kernels/mirrored_kernels.h"
#include "tests/kernels/test_tensors.h"
#include "tests/kernels/tolerance.h"

namespace baekji {

inline bool cuda_under_test() {
  const char* const device = std::getenv("BAEKJI_TEST_DEVICE");
  if (device == nullptr || std::string_view(device) == "cpu") return false;
  if (std::string_view(device) == "cuda") return true;
  throw Error("no such device").values("cpu or cuda", device).at("BAEKJI_TEST_DEVICE");
}

/// The kernels of the device under test, for tensors of the host.
class KernelsUnderTest {
 public:
  explicit KernelsUnderTest(int threads = 3) : pool_(threads) {
    inner_ = cuda_under_test() ? make_cuda_kernels(select_cuda_device(0)) : make_cpu_kernels(pool_);
  }
  /// For tensors of `memory`, until called again. One device's kernels serve them all: what an earlier operation left
  /// in working memory stays there.
  Kernels& on(const TestTensors& memory) {
    if (inner_->device().is_host()) return *inner_;
    mirrored_ = std::make_unique<MirroredKernels>(*inner_, memory);
    return *mirrored_;
  }

 private:
  ThreadPool pool_;
  std::unique_ptr<Kernels> inner_;
  std::unique_ptr<MirroredKernels> mirrored_;
};

inline bool device_is_missing() {
  return cuda_under_test() && cuda_device_count() == 0;
}

/// Fixture of cases about the device under test.
class DeviceCase : public ::testing::Test {
 protected:
  void SetUp() override {
    if (device_is_missing()) GTEST_SKIP() << "no CUDA device";
  }
};

/// Fixture of the cases that the reference and the device under test pass with the same literal values.
class BackEndCase : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!GetParam()) {
      reference_ = make_reference_kernels(ScalarKind::kFloat);
      kernels_ = reference_.get();
    } else {
      if (device_is_missing()) GTEST_SKIP() << "no CUDA device";
      device_ = std::make_unique<KernelsUnderTest>();
      kernels_ = &device_->on(memory_);
    }
  }

  TestTensors memory_;
  Kernels* kernels_ = nullptr;

 private:
  std::unique_ptr<KernelsUnderTest> device_;
  std::unique_ptr<Kernels> reference_;
};

/// The name of a back end in a case's name; ctest picks cases by it.
struct BackEndName {
  std::string operator()(const ::testing::TestParamInfo<bool>& back_end) const {
    return back_end.param ? "Device" : "Reference";
  }
};

/// Builds inputs, runs one operation and returns what it wrote.
using KernelCase = std::function<std::vector<Tensor>(Kernels&, TestTensors&)>;

/// The kernels under test against the reference, the CPU's on 1, 2, 3 and 8 threads: the same bits everywhere.
inline void expect_reference_bits(const std::string& what, const KernelCase& run) {
  TestTensors want_memory;
  const auto reference = make_reference_kernels(ScalarKind::kFloat);
  const std::vector<Tensor> want = run(*reference, want_memory);
  const std::vector<int> thread_counts = cuda_under_test() ? std::vector<int>{1} : std::vector<int>{1, 2, 3, 8};
  for (const int threads : thread_counts) {
    KernelsUnderTest kernels(threads);
    for (int repeat = 0; repeat < 2; ++repeat) {  // scratch memory of an earlier call must not show
      TestTensors got_memory;
      const std::vector<Tensor> got = run(kernels.on(got_memory), got_memory);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        expect_same_bits(got[i], want[i], fmt::format("{}, output {}, {} threads", what, i, threads));
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace baekji
