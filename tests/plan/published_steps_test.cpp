// The cost model against published training steps (published_steps.csv, each row with its source), made workloads on
// clusters by rules and not by name: docs/planner.md has what this prints.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>

#include "core/error.h"
#include "plan/step_forecast.h"
#include "tests/plan/published_rows.h"

namespace baekji {
namespace {

using namespace published;

struct PublishedStep {
  std::string id, group, model, kind;  ///< group: the id's prefix; kind: "bf16" (fp16, too), "fp8" or "fp4"
  std::string printed_precision;
  Workload workload;
  Cluster cluster;
  std::string profile;
  double tokens_per_s_per_device = 0;
  bool core = false;  ///< of the sources with full layouts and clean definitions
};

struct PublishedSteps {
  std::vector<PublishedStep> steps;
  /// The rows left out: id and the rule.
  std::vector<std::pair<std::string, std::string>> left_out;
};
std::string profile_of(const Cells& row, const std::string& group) {
  if (group == "BLM" || group == "KOR" || group == "PAP") return "megatron-2021";
  if (group == "MPT") return "fsdp-2023";
  if (group == "TT" || group == "FMS" || group == "MISC" || group == "AUTO") return "fsdp";
  if (row.at("model").find("MaxText") != std::string::npos) return "megatron-fsdp";
  return group == "MB" && row.at("zero_stage") == "3" ? "megatron-fsdp" : "megatron";
}

Cluster cluster_of(const Cells& row, const std::string& group) {
  static const std::map<std::string, std::string> kFiles{
      {"A100-80G", "a100"}, {"A100-40G", "a100-40g"}, {"H100", "h100"},   {"H200", "h200"},
      {"B200", "b200"},     {"B300", "b300"},         {"GB200", "gb200"}, {"GB300", "gb300"}};
  static std::map<std::string, Cluster> loaded;
  const std::string& gpu = row.at("gpu");
  if (!loaded.contains(gpu)) {
    // A device's file is complete but for storage, which steps do not touch.
    const std::string path = testing::TempDir() + "published_" + gpu + ".toml";
    std::ofstream(path) << fmt::format(
        "extends = \"{}/configs/clusters/devices/{}.toml\"\nname = \"{}\"\n[storage]\nwrite_gb_s = 1\nread_gb_s = 1\n"
        "[sources]\n\"storage.write_gb_s\" = \"none\"\n\"storage.read_gb_s\" = \"none\"\n",
        BAEKJI_SOURCE_DIR, kFiles.at(gpu), gpu);
    loaded[gpu] = load_cluster(path);
  }
  Cluster cluster = loaded[gpu];
  cluster.devices = number_or(row, "gpus", 1);
  // Jean Zay: four Omni-Path links of 100 Gbit/s for the eight GPUs of a node.
  if (group == "BLM") cluster.network.network_gb_s = 6.25;
  // torchtitan's H100 has HBM2e (96 GB, 500 W).
  if (group == "TT" && gpu == "H100") cluster.device.memory_gb_s = 2400;
  return cluster;
}

// Empty, or why the row cannot be compared.
std::string rule_against(const Cells& row) {
  for (const char* key : {"layers", "hidden", "heads", "ffn", "vocab", "seq", "gpus", "tp", "pp"}) {
    if (row.at(key).empty()) return fmt::format("no {} is printed", key);
  }
  const std::int64_t pipeline = number_or(row, "pp", 1);
  if (pipeline > 1 && row.at("global_batch").empty()) return "a pipeline without a global batch";
  const std::int64_t rest = number_or(row, "tp", 1) * pipeline * number_or(row, "cp", 1);
  if (number_or(row, "gpus", 1) % rest != 0) return "degrees that do not divide the devices";
  if (number_or(row, "layers", 1) + 2 < pipeline * number_or(row, "vp", 1)) return "more stages than layers";
  return {};
}

struct Compared {
  const PublishedStep* step = nullptr;
  double ratio = 0;  // forecast over published
  double error = 0;  // after the group's factor
};

struct Comparison {
  std::vector<Compared> rows;
  std::map<std::pair<std::string, std::string>, double> factors;  // by group and precision, of five rows or more
};

Comparison compare(const PublishedSteps& published) {
  Comparison c;
  std::map<std::pair<std::string, std::string>, std::vector<double>> ratios;
  for (const PublishedStep& step : published.steps) {
    const StepForecast f = forecast_step({step.workload, step.cluster, implementation_profile(step.profile)});
    c.rows.push_back({.step = &step, .ratio = f.tokens_per_s_per_device / step.tokens_per_s_per_device});
    ratios[{step.group, step.kind}].push_back(c.rows.back().ratio);
  }
  constexpr std::size_t kFewest = 5;
  for (const auto& [key, values] : ratios) c.factors[key] = values.size() >= kFewest ? median(values) : 1;
  for (Compared& row : c.rows) {
    row.error = std::abs(row.ratio / c.factors[{row.step->group, row.step->kind}] - 1);
  }
  return c;
}

// Weighted so that no group of the core makes up more than 30%.
struct Weighted {
  double median = 0, within_quarter = 0;
};
Weighted weigh(const std::vector<Compared>& rows) {
  std::map<std::string, double> count;
  for (const Compared& r : rows) count[r.step->group] += 1;
  std::vector<std::pair<double, double>> errors;
  double total = 0, near = 0;
  for (const Compared& r : rows) {
    const double weight = std::min(1.0, 0.3 * static_cast<double>(rows.size()) / count[r.step->group]);
    errors.emplace_back(r.error, weight);
    total += weight;
    if (r.error <= 0.25) near += weight;
  }
  std::sort(errors.begin(), errors.end());
  double seen = 0;
  for (const auto& [error, weight] : errors) {
    seen += weight;
    if (seen >= total / 2) return {.median = error, .within_quarter = near / total};
  }
  return {};
}

// Ranks in which values within 3% of the lowest of a run are ties.
std::vector<double> tied_ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last + 1 < order.size() && values[order[last + 1]] <= 1.03 * values[order[first]]) ++last;
    for (std::size_t i = first; i <= last; ++i) ranks[order[i]] = static_cast<double>(first + last) / 2;
    first = last + 1;
  }
  return ranks;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n;
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return ab / std::sqrt(aa * bb);
}

// Cells of a line of comma-separated values; quotes keep commas.
PublishedSteps read_published_steps() {
  PublishedSteps result;
  for (Cells& row : read_rows("published_steps.csv")) {
    const std::string& id = row["id"];
    const std::string rule = rule_against(row);
    if (!rule.empty()) {
      result.left_out.emplace_back(id, rule);
      continue;
    }
    PublishedStep step{.id = id,
                       .group = id.substr(0, id.find('-')),
                       .model = row["model"],
                       .kind = kind_of(row["precision"]),
                       .printed_precision = row["precision"]};
    step.profile = profile_of(row, step.group);
    step.workload = workload_of(row, step.profile);
    step.cluster = cluster_of(row, step.group);
    step.tokens_per_s_per_device = std::stod(row["norm_tok_s_gpu"]);
    static const std::vector<std::string> kCore{"DGXC", "MB", "KOR", "BLM", "MPT", "TT"};
    step.core = std::find(kCore.begin(), kCore.end(), step.group) != kCore.end() ||
                (step.group == "MLP" && step.model.find("405B") != std::string::npos);
    result.steps.push_back(std::move(step));
  }
  return result;
}

TEST(PublishedSteps, ForecastsAreNear) {
  const PublishedSteps published = read_published_steps();
  const Comparison c = compare(published);
  std::map<std::string, int> rules;
  for (const auto& [id, rule] : published.left_out) ++rules[id.substr(0, id.find('-')) + ": " + rule];
  for (const auto& [rule, count] : rules) fmt::print("left out {} of {}\n", count, rule);
  for (const auto& [key, factor] : c.factors) {
    std::vector<double> errors;
    for (const Compared& r : c.rows) {
      if (r.step->group == key.first && r.step->kind == key.second) errors.push_back(r.error);
    }
    const auto near = std::count_if(errors.begin(), errors.end(), [](double e) { return e <= 0.25; });
    fmt::print("{:5} {:5} {:4} rows, factor {:.3f}, median error {:5.1f}%, {:3} within 25%, worst {:.0f}%\n", key.first,
               key.second, errors.size(), factor, 100 * median(errors), near,
               100 * *std::max_element(errors.begin(), errors.end()));
  }
  std::vector<Compared> core;
  for (const Compared& r : c.rows) {
    if (r.step->core) core.push_back(r);
    if (r.step->core && r.error > 0.25) fmt::print("far: {} {:.2f}\n", r.step->id, r.ratio);
  }
  const Weighted weighted = weigh(core);
  fmt::print("core: {} rows, weighted median {:.1f}%, within 25%: {:.1f}%\n", core.size(), 100 * weighted.median,
             100 * weighted.within_quarter);
  EXPECT_LE(weighted.median, 0.10);
  EXPECT_GE(weighted.within_quarter, 0.90);
}

TEST(PublishedSteps, LayoutsOfTheBloomSweepsComeInOrder) {
  const PublishedSteps published = read_published_steps();
  const Comparison c = compare(published);
  // The same model: its layers, width and heads. Under one printed name there are several: those are shown, too.
  using Sweeps = std::map<std::string, std::pair<std::vector<double>, std::vector<double>>>;
  Sweeps sweeps;
  Sweeps printed;
  const auto add = [](Sweeps& to, const std::string& name, const Compared& r) {
    to[name].first.push_back(r.step->tokens_per_s_per_device);
    to[name].second.push_back(r.ratio * r.step->tokens_per_s_per_device);
  };
  for (const Compared& r : c.rows) {
    if (r.step->group != "BLM") continue;
    const ModelShape& m = r.step->workload.model;
    const std::string& precision = r.step->printed_precision;
    add(sweeps, fmt::format("{} layers of {}, {} heads, {}", m.layers, m.hidden, m.heads, precision), r);
    add(printed, fmt::format("{}, {}", r.step->model, precision), r);
  }
  for (const auto& [name, values] : printed) {
    if (values.first.size() < 6) continue;
    fmt::print("printed as {}: {} layouts, Spearman {:.3f}\n", name, values.first.size(),
               correlation(tied_ranks(values.first), tied_ranks(values.second)));
  }
  int checked = 0;
  for (const auto& [name, values] : sweeps) {
    if (values.first.size() < 6) continue;
    ++checked;
    const double rho = correlation(tied_ranks(values.first), tied_ranks(values.second));
    fmt::print("{}: {} layouts, Spearman {:.3f}\n", name, values.first.size(), rho);
    EXPECT_GE(rho, 0.85) << name;
  }
  EXPECT_GE(checked, 2);
}

}  // namespace
}  // namespace baekji
