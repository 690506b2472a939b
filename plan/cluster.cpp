#include "plan/cluster.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/error.h"

namespace baekji {
namespace {

// A figure of a cluster file: what it may be, and whether it needs a source.
struct Figure {
  std::string key;
  double value = 0;
  double least = 0;
  double most = 0;
};

// Sees every numeric field of a table.
class FigureCollector {
 public:
  explicit FigureCollector(std::string table) : table_(std::move(table)) {}
  void field(const char* key, double& value, const char* /*help*/) { add(key, value); }
  void field(const char* key, std::int64_t& value, const char* /*help*/) { add(key, static_cast<double>(value)); }
  void field(const char* /*key*/, std::string& /*value*/, const char* /*help*/) {}
  void choice(const char* /*key*/, std::string& /*value*/, std::initializer_list<const char*> /*words*/,
              const char* /*help*/) {}
  std::vector<Figure> take() { return std::move(figures_); }

 private:
  // No hardware has more; the hint that a unit was mistaken.
  static double most_of(const std::string& key) {
    if (key.ends_with("tflops")) return 1e6;
    if (key.ends_with("gb_s")) return 1e5;
    if (key == "memory_gib") return 1e4;
    if (key == "power_w") return 1e4;
    if (key == "power_overhead") return 5;
    if (key == "failures_per_device_day") return 1;
    if (key.ends_with("_us")) return 1e4;
    if (key.ends_with("_minutes")) return 1e4;
    if (key == "oversubscription") return 1e3;
    return 1e7;
  }
  void add(const std::string& key, double value) {
    const double least = key == "oversubscription" || key == "power_overhead" || key.starts_with("devices_per_node") ||
                                 key.starts_with("devices_per_domain") || key == "processors"
                             ? 1
                             : 0;
    figures_.push_back({.key = table_ + "." + key, .value = value, .least = least, .most = most_of(key)});
  }
  std::string table_;
  std::vector<Figure> figures_;
};

template <class Table>
void collect(Table table, const char* name, std::vector<Figure>& all) {
  FigureCollector collector(name);
  table.visit(collector);
  for (Figure& figure : collector.take()) all.push_back(std::move(figure));
}

std::vector<Figure> figures_of(const Cluster& c) {
  std::vector<Figure> all;
  collect(c.device, "device", all);
  collect(c.network, "network", all);
  collect(c.host, "host", all);
  collect(c.storage, "storage", all);
  collect(c.operations, "operations", all);
  return all;
}

void require_sane(const Cluster& c) {
  for (const Figure& f : figures_of(c)) {
    if (std::isfinite(f.value) && f.value >= f.least && f.value <= f.most) continue;
    throw Error("no hardware has such a figure")
        .values(fmt::format("{} from {:g} to {:g}", f.key, f.least, f.most), fmt::format("{:g}", f.value))
        .at(c.place)
        .hint("the unit is part of the key's name");
  }
  if (c.devices < 1)
    throw Error("a cluster has devices").values("devices of 1 or more", std::to_string(c.devices)).at(c.place);
}

void require_given(const Cluster& c, const std::string& key, double value, const char* hint) {
  if (value > 0) return;
  throw Error("the cluster file leaves out a figure that plans need")
      .values(key + " above 0", "0")
      .at(c.place)
      .hint(hint);
}

void require_complete(const Cluster& c) {
  const DeviceFigures& d = c.device;
  require_given(c, "device.memory_gib", d.memory_gib, "memory that a process can use, in GiB");
  require_given(c, "device.memory_gb_s", d.memory_gb_s, "its bandwidth, in GB/s");
  require_given(c, "device.fp32_matmul_tflops or bf16_matmul_tflops", d.fp32_matmul_tflops + d.bf16_matmul_tflops,
                "what a large matrix product reaches");
  require_given(c, "storage.write_gb_s", c.storage.write_gb_s, "checkpoints go there");
  require_given(c, "storage.read_gb_s", c.storage.read_gb_s, "checkpoints come from there");
  if (c.devices == 1) return;
  require_given(c, "network.domain_gb_s", c.network.domain_gb_s, "devices of one machine talk over it");
  if (c.devices > c.network.devices_per_domain) {
    require_given(c, "network.network_gb_s", c.network.network_gb_s, "machines talk over it");
  }
}

void require_at_most(const Cluster& c, const std::string& what, double value, const std::string& limit_name,
                     double limit) {
  if (value <= limit) return;
  throw Error("two figures of the cluster file contradict one another")
      .values(fmt::format("{} of at most {} = {:g}", what, limit_name, limit), fmt::format("{:g}", value))
      .at(c.place);
}

void require_consistent(const Cluster& c) {
  const DeviceFigures& d = c.device;
  require_at_most(c, "device.fp32_matmul_tflops", d.fp32_matmul_tflops, "device.fp32_tflops", d.fp32_tflops);
  require_at_most(c, "device.bf16_matmul_tflops", d.bf16_matmul_tflops, "device.bf16_tflops", d.bf16_tflops);
  require_at_most(c, "device.fp8_matmul_tflops", d.fp8_matmul_tflops, "device.fp8_tflops", d.fp8_tflops);
  require_at_most(c, "device.fp4_matmul_tflops", d.fp4_matmul_tflops, "device.fp4_tflops", d.fp4_tflops);
  if (c.network.domain_gb_s > 0) {
    require_at_most(c, "network.network_gb_s", c.network.network_gb_s, "network.domain_gb_s", c.network.domain_gb_s);
  }
  if (c.devices > c.network.devices_per_node && c.devices % c.network.devices_per_node != 0) {
    throw Error("a cluster consists of whole machines")
        .values(fmt::format("devices that network.devices_per_node = {} divides", c.network.devices_per_node),
                std::to_string(c.devices))
        .at(c.place);
  }
}

// What the file gives, it gives a source for.
void require_sources(const Cluster& c, const nlohmann::json& file) {
  const nlohmann::json sources = file.value("sources", nlohmann::json::object());
  for (const char* table : {"device", "network", "host", "storage", "operations"}) {
    if (!file.contains(table)) continue;
    for (const auto& [key, value] : file[table].items()) {
      const std::string name = std::string(table) + "." + key;
      if (!value.is_number() || value == 0) continue;
      if (sources.contains(name) && sources[name].is_string() && sources[name] != "") continue;
      throw Error("a figure has no source")
          .values(fmt::format("[sources] \"{}\" = \"where it is from\"", name), "nothing")
          .at(c.place + " [sources]")
          .hint("an assumption is a source, too: \"assumed: ...\"");
    }
  }
}

void require_known_sources(const Cluster& c, const nlohmann::json& sources) {
  std::vector<std::string> known;
  for (const Figure& f : figures_of(c)) known.push_back(f.key);
  for (const auto& [key, text] : sources.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    throw Error("a source is given for a figure that there is not")
        .values("the name of a figure, \"device.bf16_tflops\"", key)
        .at(c.place + " [sources]")
        .hint(did_you_mean(key, known));
  }
}

}  // namespace

Cluster load_cluster(const std::filesystem::path& path) {
  const nlohmann::json file = load_config(path, {});
  Cluster cluster;
  cluster.place = path.string();
  const auto table = [&](const char* name) { return file.value(name, nlohmann::json::object()); };
  const auto place = [&](const char* name) { return fmt::format("{} [{}]", path.string(), name); };
  read_config(file, cluster, cluster.place, {"device", "network", "host", "storage", "operations", "sources"});
  read_config(table("device"), cluster.device, place("device"));
  read_config(table("network"), cluster.network, place("network"));
  read_config(table("host"), cluster.host, place("host"));
  read_config(table("storage"), cluster.storage, place("storage"));
  read_config(table("operations"), cluster.operations, place("operations"));
  require_sane(cluster);
  require_complete(cluster);
  require_consistent(cluster);
  require_known_sources(cluster, table("sources"));
  require_sources(cluster, file);
  return cluster;
}

std::string cluster_toml(const Cluster& cluster, const nlohmann::json& sources) {
  nlohmann::json file = write_config(cluster);
  file["device"] = write_config(cluster.device);
  file["network"] = write_config(cluster.network);
  file["host"] = write_config(cluster.host);
  file["storage"] = write_config(cluster.storage);
  file["operations"] = write_config(cluster.operations);
  file["sources"] = sources;
  return to_toml(file);
}

}  // namespace baekji
