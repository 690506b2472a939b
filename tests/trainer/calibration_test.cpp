// A cluster file that this machine measured: complete, with sources, and what `plan` reads.

#include "trainer/calibration.h"

#include <gmock/gmock.h>

#include "parallel/communicator_threads.h"
#include "tests/trainer/tiny_run.h"

namespace baekji {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Cluster written(const Calibration& calibration, const std::string& name) {
  const tiny::fs::path path = tiny::fs::path(testing::TempDir()) / name;
  std::ofstream(path) << cluster_toml(calibration.cluster, calibration.sources);
  return load_cluster(path);
}

CalibrationArgs quick(const std::string& base = "") {
  return {.storage = tiny::fs::path(testing::TempDir()) / "calibration",
          .base = base,
          .name = {},
          .machine = {},
          .repeats = 1,
          .storage_bytes = 1 << 20,
          .message_bytes = 1 << 20};
}

TEST(Calibration, ARankMeasuresWhatAPlanNeeds) {
  ThreadPool pool(1);
  const auto kernels = make_cpu_kernels(pool);
  const auto self = make_self_communicator();
  const std::string base = std::string(BAEKJI_SOURCE_DIR) + "/configs/clusters/laptop-cpu.toml";
  const Calibration measured = calibrate(*kernels, pool, *self, quick(base));
  std::fputs(measured.describe().c_str(), stdout);
  const Cluster c = written(measured, "one.toml");
  EXPECT_EQ(c.devices, 1);
  EXPECT_EQ(c.device.kind, "cpu");
  for (const double figure : {c.device.memory_gib, c.device.memory_gb_s, c.device.fp32_matmul_tflops,
                              c.device.bf16_matmul_tflops, c.device.attention_forward_tflops,
                              c.device.attention_backward_tflops, c.device.launch_us, c.storage.write_gb_s})
    EXPECT_GT(figure, 0);
  EXPECT_EQ(c.device.power_w, load_cluster(base).device.power_w);
  EXPECT_THAT(measured.sources["device.power_w"].get<std::string>(), HasSubstr("laptop-cpu.toml"));
  EXPECT_THAT(measured.sources["device.memory_gb_s"].get<std::string>(), StartsWith("measured by"));
  EXPECT_TRUE(tiny::fs::is_empty(quick().storage)) << "a scratch file stayed";
}

TEST(Calibration, RanksMeasureHowTheyReachOneAnother) {
  run_as_ranks(2, [](Communicator& world) {
    ThreadPool pool(1);
    const auto kernels = make_cpu_kernels(pool);
    CalibrationArgs args = quick();
    args.machine = {.ranks = 2, .rank = world.rank()};
    const Calibration measured = calibrate(*kernels, pool, world, args);
    if (world.rank() > 0) return;
    std::fputs(measured.describe().c_str(), stdout);
    const Cluster c = written(measured, "two.toml");
    EXPECT_EQ(c.devices, 2);
    EXPECT_EQ(c.network.devices_per_domain, 2);
    EXPECT_GT(c.network.domain_gb_s, 0);
    EXPECT_GT(c.network.domain_latency_us, 0);
    EXPECT_EQ(c.network.network_gb_s, 0) << "one machine";
  });
}

TEST(Calibration, StorageThatIsNoFolderIsRefused) {
  ThreadPool pool(1);
  const auto kernels = make_cpu_kernels(pool);
  const auto self = make_self_communicator();
  CalibrationArgs args = quick();
  args.storage = "/dev/null/here";
  EXPECT_THROW(calibrate(*kernels, pool, *self, args), std::exception);
}

}  // namespace
}  // namespace baekji
