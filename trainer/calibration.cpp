#include "trainer/calibration.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <set>

#include "core/arena.h"
#include "core/config.h"
#include "core/device_cuda.h"
#include "core/digest.h"
#include "core/file_system.h"
#include "core/random.h"
#include "kernels/cpu/ceiling.h"
#include "kernels/cuda/ceiling.h"
#include "parallel/gather_text.h"
#include "plan/profile.h"

namespace baekji {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The shortest of some rounds of `calls` calls, over their number, in seconds.
template <class Call, class Wait>
double best_seconds(int rounds, int calls, const Call& call, const Wait& wait) {
  double best = std::numeric_limits<double>::infinity();
  for (int round = -1; round < rounds; ++round) {  // one to warm up
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    wait();
    if (round >= 0) best = std::min(best, seconds_since(start) / calls);
  }
  return best;
}

// "MemAvailable" of /proc/meminfo; 0 where there is none.
std::int64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::int64_t kib = 0;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib << 10;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// A file that is gone when this is.
class ScratchFile {
 public:
  explicit ScratchFile(std::filesystem::path path) : path_(std::move(path)) {}
  ~ScratchFile() { unlink(path_.c_str()); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  double write_seconds(std::int64_t size_bytes) const {
    const std::string piece(std::size_t{16} << 20, 'b');
    const auto start = Clock::now();
    const std::unique_ptr<AppendFile> file = posix_file_system().open_append(path_);
    for (std::int64_t done = 0; done < size_bytes; done += std::ssize(piece))
      file->append(std::string_view(piece).substr(0, static_cast<std::size_t>(size_bytes - done)));
    file->sync();
    return seconds_since(start);
  }
  // Not from the memory that the system keeps files in, as far as it lets go of it.
  double read_seconds() const {
    const int file = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw Error("cannot read what was written").at(path_.string());
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    std::string piece(std::size_t{16} << 20, ' ');
    const auto start = Clock::now();
    while (::read(file, piece.data(), piece.size()) > 0) continue;
    const double seconds = seconds_since(start);
    close(file);
    return seconds;
  }

 private:
  std::filesystem::path path_;
};

class Calibrating {
 public:
  Calibrating(Kernels& kernels, ThreadPool& pool, Communicator& world, const CalibrationArgs& args)
      : kernels_(kernels),
        pool_(pool),
        world_(world),
        args_(args),
        on_host_(kernels.device().is_host()),
        arena_(Arena::Mode::kAllocate, kernels.device()),
        word_(arena_.allocate("wait", DType::kInt32, {1})) {}

  Calibration run() {
    posix_file_system().create_directories(args_.storage);  // what cannot be written is known before the rest
    if (!args_.base.empty()) take_base();
    Cluster& c = result_.cluster;
    c.devices = world_.size();
    c.network.devices_per_node = args_.machine.ranks;
    c.network.devices_per_domain = args_.machine.ranks;
    source("network.devices_per_node", "ranks of this job on the machine");
    source("network.devices_per_domain", "ranks of this job on the machine");
    describe_device();
    if (c.name.empty() || !args_.name.empty()) c.name = args_.name.empty() ? c.device.name : args_.name;
    measure_products();
    measure_memory();
    measure_attention();
    measure_network();
    measure_digest();
    measure_storage();
    default_sources();
    return std::move(result_);
  }

 private:
  void take_base() {
    result_.cluster = load_cluster(args_.base);
    result_.sources = load_config(args_.base, {}).value("sources", nlohmann::json::object());
    for (auto& [key, text] : result_.sources.items()) {
      const std::string words = text;
      text = fmt::format("{} ({})", words, args_.base.filename().string());
    }
  }
  void source(const std::string& key, const std::string& text) { result_.sources[key] = text; }
  void measured(const std::string& key, const std::string& how) {
    source(key, fmt::format("measured by `baekji bench`: {}{}", how,
                            world_.size() > 1 ? fmt::format(", {} ranks at once, the slowest", world_.size()) : ""));
  }
  // Kernels may be done later than they return; the end of a download is the end of what came before.
  void wait() const {
    std::int32_t word = 0;
    kernels_.download({.from = word_, .to = &word});
  }
  double slowest(double value) {
    double least = -value;
    world_.all_reduce(Tensor(&least, DType::kFloat64, {1}), ReduceOp::kMax);
    return -least;
  }

  void describe_device() {
    DeviceFigures& d = result_.cluster.device;
    d.kind = on_host_ ? "cpu" : "cuda";
    if (on_host_) {
      d.name = fmt::format("{} threads of a CPU: {}", pool_.threads(), kernels_.describe());
      d.processors = pool_.threads();
      d.memory_gib = static_cast<double>(available_bytes()) / args_.machine.ranks / kBytesPerGib;
      measured("device.memory_gib", "available before the start, shared by the machine's ranks");
    } else {
      const CudaInfo info = cuda_info(kernels_.device());
      d.name = info.name;
      d.processors = info.multiprocessors;
      d.memory_gib = static_cast<double>(info.free_bytes) / kBytesPerGib;
      measured("device.memory_gib", "free beside the context");
    }
    d.memory_gib = slowest(d.memory_gib);
    source("device.processors", on_host_ ? "threads of a rank" : "multiprocessors, as the driver says");
  }

  void measure_products() {
    DeviceFigures& d = result_.cluster.device;
    const auto measure = [&](const char* word, DType type, double& reached, double& peak) {
      world_.barrier();
      double flops = 0;
      for (int i = 0; i < args_.repeats; ++i)
        flops = std::max(
            flops, on_host_ ? measure_matmul_ceiling(pool_, type) : measure_matmul_ceiling(kernels_.device(), type));
      reached = slowest(flops * 1e-12);
      measured(fmt::format("device.{}_matmul_tflops", word), "large square matrix products");
      if (peak >= reached) return;
      peak = reached;
      source(fmt::format("device.{}_tflops", word), "not known: what was measured");
    };
    measure("fp32", DType::kFloat32, d.fp32_matmul_tflops, d.fp32_tflops);
    measure("bf16", DType::kBfloat16, d.bf16_matmul_tflops, d.bf16_tflops);
    measure("fp8", DType::kFloat8E4M3, d.fp8_matmul_tflops, d.fp8_tflops);
  }

  void measure_memory() {
    DeviceFigures& d = result_.cluster.device;
    world_.barrier();
    d.memory_gb_s =
        slowest(1e-9 * (on_host_ ? measure_copy_bandwidth(pool_) : measure_copy_bandwidth(kernels_.device())));
    measured("device.memory_gb_s", "a large copy, read and written bytes");
    const Tensor little = arena_.allocate("launch", DType::kFloat32, {64});
    constexpr int kCalls = 1000;
    const double seconds = best_seconds(
        8, kCalls, [&] { kernels_.fill_zero(little); }, [&] { wait(); });
    d.launch_us = -slowest(-seconds * 1e6);
    measured("device.launch_us", "clearing 256 bytes, one after another");
  }

  void measure_attention() {
    DeviceFigures& d = result_.cluster.device;
    const std::int64_t tokens = on_host_ ? 1024 : 8192;
    const std::int64_t heads = on_host_ ? 2 * pool_.threads() : 16;
    constexpr std::int64_t kWidth = 128;
    Arena arena(Arena::Mode::kAllocate, kernels_.device());
    const auto values = [&] { return arena.allocate("attention", DType::kBfloat16, {1, tokens, heads, kWidth}); };
    const AttentionForwardArgs forward{.q_BTHD = values(),
                                       .k_BTKD = values(),
                                       .v_BTKD = values(),
                                       .y_BTHD = values(),
                                       .lse_BHT = arena.allocate("attention", DType::kFloat32, {1, heads, tokens}),
                                       .scale = 1 / std::sqrt(static_cast<double>(kWidth))};
    fill(forward.q_BTHD, "q");
    fill(forward.k_BTKD, "k");
    fill(forward.v_BTKD, "v");
    const AttentionBackwardArgs backward{.q_BTHD = forward.q_BTHD,
                                         .k_BTKD = forward.k_BTKD,
                                         .v_BTKD = forward.v_BTKD,
                                         .y_BTHD = forward.y_BTHD,
                                         .lse_BHT = forward.lse_BHT,
                                         .dy_BTHD = forward.v_BTKD,
                                         .dq_BTHD = values(),
                                         .dk_BTKD = values(),
                                         .dv_BTKD = values(),
                                         .scale = forward.scale};
    // Half of the square; the ramp of short sequences is the planner's (plan/device_cost.cpp).
    const double product = static_cast<double>(tokens * tokens * heads * kWidth);
    const auto measure = [&](double products, const auto& call) {
      world_.barrier();
      return slowest(1e-12 * products * product /
                     best_seconds(4 * args_.repeats, on_host_ ? 1 : 8, call, [&] { wait(); }));
    };
    d.attention_forward_tflops = measure(2, [&] { kernels_.attention_forward(forward); });
    d.attention_backward_tflops = measure(5, [&] { kernels_.attention_backward(backward); });
    const std::string how = fmt::format("causal, bf16, {} heads of {} on {} tokens", heads, kWidth, tokens);
    measured("device.attention_forward_tflops", how);
    measured("device.attention_backward_tflops", how);
  }

  void fill(const Tensor& to, std::string_view name) {
    const RandomStream stream("calibration", 0, name);
    std::vector<Bfloat16> values(static_cast<std::size_t>(to.size()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = Bfloat16(static_cast<float>(stream.normal(i)));
    kernels_.upload({.from = values.data(), .to = to});
  }

  struct Link {
    double gb_s = 0;
    double latency_us = 0;
  };
  // An all_gather of a large tensor, and the least that a collective takes. Collective on the world: every rank has a
  // group.
  Link measure_link(Communicator& group) {
    const std::int64_t ranks = group.size();
    const std::int64_t words = args_.message_bytes / 4 / ranks;
    const Tensor all = arena_.allocate("messages", DType::kInt32, {words * ranks});
    const Tensor mine = all.rows(group.rank() * words, words);
    const Tensor little = arena_.allocate("messages", DType::kInt32, {1});
    world_.barrier();
    const auto waits = [&] { wait(); };
    const double large_s = best_seconds(
        4, 2, [&] { group.all_gather(mine, all); }, waits);
    const double small_s = best_seconds(
        8, 20, [&] { group.all_reduce(little, ReduceOp::kMax); }, waits);
    const auto sent = static_cast<double>((ranks - 1) * words * 4);
    const double steps = std::ceil(std::log2(static_cast<double>(ranks)));
    return {.gb_s = slowest(ranks > 1 ? 1e-9 * sent / large_s : std::numeric_limits<double>::max()),
            .latency_us = -slowest(ranks > 1 ? -1e6 * small_s / steps : 0.0)};
  }

  void measure_network() {
    if (world_.size() == 1) return;
    const std::vector<std::string> hosts = gather_text(world_, host_name());
    std::map<std::string, int> machines;
    for (const std::string& host : hosts) machines.emplace(host, static_cast<int>(machines.size()));
    const int machine = machines.at(hosts[static_cast<std::size_t>(world_.rank())]);
    NetworkFigures& n = result_.cluster.network;
    const ImplementationProfile& profile = implementation_profile("baekji");
    const auto domain = world_.split(machine, world_.rank(), "machine");
    const auto across = world_.split(domain->rank(), world_.rank(), "machines");
    if (args_.machine.ranks > 1) {
      const Link link = measure_link(*domain);
      n.domain_gb_s = link.gb_s / profile.domain_share;
      n.domain_latency_us = link.latency_us;
      measured("network.domain_gb_s", fmt::format("all_gather, over {:g}, which plans take off", profile.domain_share));
      measured("network.domain_latency_us", "all_reduce of 4 bytes, a step of log2(ranks)");
    }
    if (machines.size() > 1) {
      const Link link = measure_link(*across);
      n.network_gb_s = link.gb_s / profile.network_share;
      n.network_latency_us = link.latency_us;
      if (args_.machine.ranks == 1) n.domain_gb_s = n.network_gb_s;
      measured("network.network_gb_s",
               fmt::format("all_gather, over {:g}, which plans take off", profile.network_share));
      measured("network.network_latency_us", "all_reduce of 4 bytes, a step of log2(ranks)");
      if (args_.machine.ranks == 1) source("network.domain_gb_s", "a machine has one device: the network's");
    }
  }

  // One core of each rank at once, as ranks hash their states.
  void measure_digest() {
    const std::string bytes(std::size_t{8} << 20, 'b');
    const double seconds = slowest(best_seconds(
        3, 4, [&] { (void)sha256(bytes); }, [] {}));
    result_.cluster.host.digest_gb_s = static_cast<double>(bytes.size()) / seconds * 1e-9;
    measured("host.digest_gb_s", "SHA-256 of 8 MiB on one core");
  }

  void measure_storage() {
    StorageFigures& s = result_.cluster.storage;
    const ScratchFile file(args_.storage / fmt::format("baekji-bench-{}-{}", getpid(), world_.rank()));
    const auto bytes = static_cast<double>(args_.storage_bytes);
    world_.barrier();
    s.write_gb_s = world_.size() * slowest(1e-9 * bytes / file.write_seconds(args_.storage_bytes));
    world_.barrier();
    s.read_gb_s = world_.size() * slowest(1e-9 * bytes / file.read_seconds());
    const std::string how = fmt::format("{} for each rank", format_bytes(args_.storage_bytes));
    measured("storage.write_gb_s", how + ", synced");
    measured("storage.read_gb_s", how + ", the system told to forget it first");
  }

  // Figures whose value is not 0 though nobody gave them.
  void default_sources() {
    for (const char* key : {"network.oversubscription", "operations.power_overhead"}) {
      if (!result_.sources.contains(key)) source(key, "assumed");
    }
  }

  Kernels& kernels_;
  ThreadPool& pool_;
  Communicator& world_;
  const CalibrationArgs& args_;
  bool on_host_;
  Arena arena_;
  Tensor word_;
  Calibration result_{.cluster = {}, .sources = nlohmann::json::object()};
};

}  // namespace

std::string Calibration::describe() const {
  std::string text = fmt::format("{}: {} devices\n", cluster.device.name, cluster.devices);
  const nlohmann::json tables{{"device", write_config(cluster.device)},
                              {"network", write_config(cluster.network)},
                              {"host", write_config(cluster.host)},
                              {"storage", write_config(cluster.storage)}};
  for (const auto& [table, figures] : tables.items()) {
    for (const auto& [key, value] : figures.items()) {
      const std::string name = table + "." + key;
      if (value.is_number() && value != 0 && sources.contains(name))
        text += fmt::format("  {:<34} {:>12.4g}  {}\n", name, value.get<double>(), sources[name].get<std::string>());
    }
  }
  return text;
}

Calibration calibrate(Kernels& kernels, ThreadPool& pool, Communicator& world, const CalibrationArgs& args) {
  return Calibrating(kernels, pool, world, args).run();
}

}  // namespace baekji
