#include "trainer/nearest_layout.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/config.h"
#include "plan/search.h"
#include "trainer/layout.h"
#include "trainer/plan_report.h"
#include "trainer/planner.h"

namespace baekji {
namespace {

// What every experiment can be laid out as.
const std::vector<std::string> kOneDevice{
    "layout.tensor=1",         "layout.data=1",         "layout.pipeline=1",
    "layout.virtual_stages=1", "layout.schedule=1f1b",  "layout.schedule_file=''",
    "layout.zero=0",           "layout.recompute=none", "layout.layers_per_stage=[]"};

// Doublings between two degrees, and a little for whatever else is not the same.
double distance(const LayoutConfig& wanted, const ParallelLayout& l) {
  const auto doublings = [](std::int64_t a, std::int64_t b) {
    return std::abs(std::log2(static_cast<double>(a)) - std::log2(static_cast<double>(b)));
  };
  constexpr double kLittle = 0.1;
  double sum = doublings(wanted.tensor, l.tensor) + doublings(wanted.data, l.data) +
               doublings(wanted.pipeline, l.pipeline) + kLittle * doublings(wanted.virtual_stages, l.virtual_stages);
  if (wanted.schedule != l.schedule) sum += kLittle;
  if (wanted.zero != l.zero) sum += kLittle;
  if (recompute_of(wanted) != l.recompute) sum += kLittle;
  return sum;
}

// All layouts on so many devices that the trainer would take.
std::vector<Candidate> lawful(const Experiment& e, const Cluster& cluster, const ImplementationProfile& profile,
                              std::int64_t devices) {
  const Workload asked = workload_of(e, e.stages.front());
  const SearchSpace space{.devices = devices,
                          .most_tensor = e.numerics.tensor_grains,
                          .wanted = std::numeric_limits<std::size_t>::max(),
                          .room_bytes = std::numeric_limits<double>::max(),
                          .layers_of = trainer_layers(e)};
  const StepQuestion question{asked, cluster, profile};
  return search_layouts(question, space, [](const Candidate&) { return 0.0; }).best;
}

}  // namespace

std::string nearest_layout(const std::filesystem::path& path, std::span<const std::string> overrides,
                           const Cluster& cluster, const ImplementationProfile& profile) {
  try {
    LayoutConfig wanted;
    const nlohmann::json file = load_config(path, overrides);
    read_config(file.value("layout", nlohmann::json::object()), wanted, path.string() + " [layout]");
    if (wanted.tensor < 1 || wanted.data < 1 || wanted.pipeline < 1 || wanted.virtual_stages < 1) return {};
    std::vector<std::string> plain(overrides.begin(), overrides.end());
    plain.insert(plain.end(), kOneDevice.begin(), kOneDevice.end());
    const Experiment e = load_experiment(path, plain);
    const std::int64_t most = std::min(wanted.mesh().size(), cluster.devices);
    std::vector<Candidate> all = lawful(e, cluster, profile, most);
    const auto below = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(most)));
    for (std::int64_t devices = below == most ? most / 2 : below; all.empty() && devices >= 1; devices /= 2)
      all = lawful(e, cluster, profile, devices);
    if (all.empty()) return {};
    const auto nearer = [&](const Candidate& a, const Candidate& b) {
      return distance(wanted, a.workload.layout) < distance(wanted, b.workload.layout);
    };
    return describe(*std::min_element(all.begin(), all.end(), nearer));
  } catch (const Error&) {
    return {};  // something else is wrong, which the caller's error says
  }
}

}  // namespace baekji
