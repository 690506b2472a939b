#include "plan/cluster.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

fs::path clusters() {
  return fs::path(BAEKJI_SOURCE_DIR) / "configs" / "clusters";
}

// A file over the 2,048 A100, with more text.
fs::path over_a100(const std::string& text) {
  const fs::path path = fs::path(testing::TempDir()) / "bad_cluster.toml";
  std::ofstream(path) << fmt::format("extends = \"{}\"\n", (clusters() / "a100-2048.toml").string()) << text;
  return path;
}

std::string refusal_of(const std::string& text) {
  const fs::path path = over_a100(text);
  try {
    load_cluster(path);
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(path.string())) << "the file is named";
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << text;
  return {};
}

TEST(ClusterFiles, AllOfOursLoad) {
  int loaded = 0;
  for (const auto& entry : fs::directory_iterator(clusters())) {
    if (!entry.is_regular_file()) continue;
    const Cluster cluster = load_cluster(entry.path());
    fmt::print("{}: {}, {} devices\n", entry.path().filename().string(), cluster.device.name, cluster.devices);
    EXPECT_GT(cluster.device.bf16_matmul_tflops, 0);
    ++loaded;
  }
  EXPECT_GE(loaded, 6);
  const Cluster b200 = load_cluster(clusters() / "b200-4096.toml");
  EXPECT_EQ(b200.devices, 4096);
  EXPECT_EQ(b200.network.devices_per_domain, 8);
}

TEST(ClusterFiles, WrongFiguresAreNamed) {
  EXPECT_THAT(refusal_of("[device]\nbf16_tflop = 1\n"), AllOf(HasSubstr("bf16_tflop"), HasSubstr("bf16_tflops")));
  EXPECT_THAT(refusal_of("[device]\nmemory_gib = 0\n"), HasSubstr("device.memory_gib above 0"));
  EXPECT_THAT(refusal_of("[device]\nmemory_gib = 1e6\n"), AllOf(HasSubstr("device.memory_gib"), HasSubstr("1e+06")));
  EXPECT_THAT(refusal_of("[device]\nlaunch_us = -1.0\n"), AllOf(HasSubstr("device.launch_us"), HasSubstr("-1")));
  EXPECT_THAT(refusal_of("[device]\npower_w = nan\n"), HasSubstr("power_w"));
  EXPECT_THAT(refusal_of("[device]\nbf16_matmul_tflops = 400.0\n"), AllOf(HasSubstr("= 312"), HasSubstr("400")));
  EXPECT_THAT(refusal_of("[network]\nnetwork_gb_s = 400.0\n"),
              AllOf(HasSubstr("network.domain_gb_s = 300"), HasSubstr("400")));
  EXPECT_THAT(refusal_of("[network]\nnetwork_gb_s = 0.0\n"), HasSubstr("network.network_gb_s above 0"));
  EXPECT_THAT(refusal_of("[network]\noversubscription = 0.5\n"), HasSubstr("network.oversubscription from 1"));
  EXPECT_THAT(refusal_of("devices = 12\n"), AllOf(HasSubstr("devices_per_node = 8"), HasSubstr("12")));
  EXPECT_THAT(refusal_of("devices = 0\n"), HasSubstr("devices of 1 or more"));
  EXPECT_THAT(refusal_of("[storage]\nwrite_gb_s = 0\n"), HasSubstr("storage.write_gb_s above 0"));
  EXPECT_THAT(refusal_of("[device]\nfp8_tflops = 600\n"),
              AllOf(HasSubstr("no source"), HasSubstr("device.fp8_tflops")));
  EXPECT_THAT(refusal_of("[sources]\n\"device.power\" = \"x\"\n"),
              AllOf(HasSubstr("device.power"), HasSubstr("device.power_w")));
  fmt::print("14 wrong files refused\n");
}

TEST(ClusterFiles, WrittenAsTheyAreRead) {
  const Cluster cluster = load_cluster(clusters() / "laptop-cpu.toml");
  nlohmann::json sources = nlohmann::json::object();
  for (const char* key :
       {"device.memory_gib", "device.memory_gb_s", "device.fp32_tflops", "device.bf16_tflops",
        "device.fp32_matmul_tflops", "device.bf16_matmul_tflops", "device.processors", "device.launch_us",
        "device.power_w", "network.devices_per_node", "network.devices_per_domain", "network.oversubscription",
        "host.digest_gb_s", "storage.write_gb_s", "storage.read_gb_s", "operations.failures_per_device_day",
        "operations.restart_minutes", "operations.start_minutes", "operations.power_overhead"}) {
    sources[key] = "a test";
  }
  const fs::path path = fs::path(testing::TempDir()) / "written_cluster.toml";
  std::ofstream(path) << cluster_toml(cluster, sources);
  const Cluster again = load_cluster(path);
  EXPECT_EQ(again.device.bf16_matmul_tflops, cluster.device.bf16_matmul_tflops);
  EXPECT_EQ(again.operations.restart_minutes, cluster.operations.restart_minutes);
  EXPECT_EQ(cluster_toml(again, sources), cluster_toml(cluster, sources));
}

}  // namespace
}  // namespace baekji
