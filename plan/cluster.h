#pragma once
// Cluster: the hardware that a plan is for, from one TOML file. Every figure in it names its source.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace baekji {

inline constexpr double kBytesPerGib = 1024.0 * 1024.0 * 1024.0;

/// [device]: what one rank computes on. Figures of a kind that the device has not are 0.
struct DeviceFigures {
  std::string name;
  std::string kind = "cuda";
  double memory_gib = 0;
  double memory_gb_s = 0;
  double fp32_tflops = 0;
  double bf16_tflops = 0;
  double fp8_tflops = 0;
  double fp4_tflops = 0;
  double fp32_matmul_tflops = 0;
  double bf16_matmul_tflops = 0;
  double fp8_matmul_tflops = 0;
  double fp4_matmul_tflops = 0;
  double attention_forward_tflops = 0;
  double attention_backward_tflops = 0;
  std::int64_t processors = 1;
  double launch_us = 0;
  double power_w = 0;

  template <class V>
  void visit(V& v) {
    v.field("name", name, "what it is called");
    v.choice("kind", kind, {"cpu", "cuda"}, "layout.device that runs on it");
    v.field("memory_gib", memory_gib, "memory that a process can use, GiB");
    v.field("memory_gb_s", memory_gb_s, "bandwidth of that memory, GB/s");
    v.field("fp32_tflops", fp32_tflops, "peak of dense matrix products in fp32, TFLOP/s");
    v.field("bf16_tflops", bf16_tflops, "the same in bf16");
    v.field("fp8_tflops", fp8_tflops, "the same in fp8");
    v.field("fp4_tflops", fp4_tflops, "the same in fp4");
    v.field("fp32_matmul_tflops", fp32_matmul_tflops, "the most that a large matrix product was seen to reach, fp32");
    v.field("bf16_matmul_tflops", bf16_matmul_tflops, "the same in bf16");
    v.field("fp8_matmul_tflops", fp8_matmul_tflops, "the same in fp8");
    v.field("fp4_matmul_tflops", fp4_matmul_tflops, "the same in fp4");
    v.field("attention_forward_tflops", attention_forward_tflops,
            "what long causal attention was seen to reach, half of the square counted; 0: unknown");
    v.field("attention_backward_tflops", attention_backward_tflops, "the same of its backward pass");
    v.field("processors", processors, "streaming multiprocessors, or cores");
    v.field("launch_us", launch_us, "time that an operation takes beside its work, microseconds");
    v.field("power_w", power_w, "power of a device under load, W");
  }
};

/// [network]: how devices reach one another. A domain is what NVLink (or shared memory) joins.
struct NetworkFigures {
  std::int64_t devices_per_node = 8;
  std::int64_t devices_per_domain = 8;
  double domain_gb_s = 0;
  double domain_latency_us = 0;
  double network_gb_s = 0;
  double network_latency_us = 0;
  double oversubscription = 1;
  std::int64_t devices_per_pod = 0;

  template <class V>
  void visit(V& v) {
    v.field("devices_per_node", devices_per_node, "devices of one machine");
    v.field("devices_per_domain", devices_per_domain, "devices that one scale-up network joins");
    v.field("domain_gb_s", domain_gb_s, "what a device sends inside its domain, one direction, GB/s");
    v.field("domain_latency_us", domain_latency_us, "latency of a step of a collective there, microseconds");
    v.field("network_gb_s", network_gb_s,
            "what a device sends outside of it, one direction, GB/s: its share of the node's NICs");
    v.field("network_latency_us", network_latency_us, "latency of a step of a collective there, microseconds");
    v.field("oversubscription", oversubscription,
            "by how much a pod's way out is narrower than its ways in; 1: full bisection");
    v.field("devices_per_pod", devices_per_pod, "devices below one way out; 0: all of the cluster");
  }
};

/// [host]: the machine beside its devices, which hashes their state.
struct HostFigures {
  double cores_per_device = 0;
  double link_gb_s = 0;
  double digest_gb_s = 0;

  template <class V>
  void visit(V& v) {
    v.field("cores_per_device", cores_per_device, "cores of the machine for each of its devices; 0: unknown");
    v.field("link_gb_s", link_gb_s, "what a device's memory copies to the host's, GB/s; 0: unknown");
    v.field("digest_gb_s", digest_gb_s, "SHA-256 on one core, GB/s; 0: unknown");
  }
};

/// [storage], seen from the whole job.
struct StorageFigures {
  double write_gb_s = 0;
  double read_gb_s = 0;
  double node_read_gb_s = 0;

  template <class V>
  void visit(V& v) {
    v.field("write_gb_s", write_gb_s, "checkpoints are written at, all ranks together, GB/s");
    v.field("read_gb_s", read_gb_s, "and read at");
    v.field("node_read_gb_s", node_read_gb_s,
            "what one machine reads of them, from its own disks or its share; 0: as much as all");
  }
};

/// [operations]: what months of running are reckoned with.
struct OperationFigures {
  double failures_per_device_day = 0;
  double restart_minutes = 0;
  double power_overhead = 1;
  double start_minutes = 0;

  template <class V>
  void visit(V& v) {
    v.field("failures_per_device_day", failures_per_device_day, "unexpected stops of the job, for each device and day");
    v.field("restart_minutes", restart_minutes,
            "from a stop until training goes on, the loading of a checkpoint not counted");
    v.field("power_overhead", power_overhead, "power of the site over that of its devices: hosts, network, cooling");
    v.field("start_minutes", start_minutes, "from mpirun until the first step, once");
  }
};

struct Cluster {
  std::string name;
  std::int64_t devices = 1;
  DeviceFigures device;
  NetworkFigures network;
  HostFigures host;
  StorageFigures storage;
  OperationFigures operations;
  std::string place;  ///< the file, for errors

  template <class V>
  void visit(V& v) {
    v.field("name", name, "what the cluster is called");
    v.field("devices", devices, "devices of the whole cluster");
  }
};

/// Reads and checks a cluster file (layered by `extends`, as experiment files are). Every figure that is not 0 needs an
/// entry of the same name in the file's [sources] table ("device.bf16_tflops" = "..."). Throws Error, with file and
/// key, on an unknown key, a missing figure or source, and a figure that no hardware has (more matrix products than the
/// peak, a domain slower than the network, negative or not finite numbers).
Cluster load_cluster(const std::filesystem::path& path);

/// The same as TOML, with sources: what load_cluster() reads. `sources` maps "table.key" to text.
std::string cluster_toml(const Cluster& cluster, const nlohmann::json& sources);

}  // namespace baekji
