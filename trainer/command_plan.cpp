#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file_system.h"
#include "parallel/timeline.h"
#include "plan/perfetto_trace.h"
#include "trainer/commands.h"
#include "trainer/nearest_layout.h"
#include "trainer/plan_report.h"
#include "trainer/proof_report.h"

namespace baekji {
namespace {

struct PlanArguments {
  std::string experiment;
  std::string cluster;
  std::vector<std::string> overrides;
  std::string profile = "baekji";
  std::int64_t devices = 0;
  std::int64_t rows = 10;
  std::int64_t evaluator_nodes = 1;
  bool explain = false;
  bool free_numerics = false;
  bool json = false;
  std::string timeline, trace, memory, breakdown;
};

void require_device_kind(const Experiment& e, const Cluster& cluster) {
  if (e.layout.device == cluster.device.kind) return;
  throw Error("the experiment's device is not the cluster's")
      .values(fmt::format("layout.device = \"{}\" ({})", cluster.device.kind, cluster.place),
              fmt::format("\"{}\"", e.layout.device))
      .at(e.place + " [layout]")
      .hint(fmt::format("--set layout.device={}", cluster.device.kind));
}

void require_room_on_cluster(const Experiment& e, const Cluster& cluster) {
  if (e.layout.mesh().size() <= cluster.devices) return;
  throw Error("the layout is for more devices than the cluster has")
      .values(fmt::format("at most {} ({})", cluster.devices, cluster.place), e.layout.mesh().describe())
      .at(e.place + " [layout]")
      .hint("without --explain the planner looks for layouts itself");
}

Experiment experiment_of(const PlanArguments& a, const Cluster& cluster, const ImplementationProfile& profile) {
  try {
    return load_experiment(a.experiment, a.overrides);
  } catch (const Error& error) {
    const std::string nearest = nearest_layout(a.experiment, a.overrides, cluster, profile);
    if (nearest.empty()) throw;
    throw Error(error).hint(fmt::format("the nearest layout that can be: {} (pipeline x data x tensor)", nearest));
  }
}

void require_named_schedule(const Experiment& e) {
  if (e.layout.schedule_file.empty()) return;
  throw Error("plans price named schedules, not those of a file")
      .values("layout.schedule_file = \"\"", fmt::format("\"{}\"", e.layout.schedule_file))
      .at(e.place + " [layout]")
      .hint(
          "`baekji train --dry-run --timeline` plays and draws a file's schedule; without --explain the planner looks "
          "for layouts itself");
}

SearchResult search(const Experiment& e, const StepQuestion& question, const SearchSpace& space) {
  return search_layouts(question, space, [&](const Candidate& c) {
    return bytes_unless_more(with_candidate(e, c), question.profile, space.room_bytes);
  });
}

void draw(const PlanArguments& a, const Experiment& e, const StepQuestion& question, const StepForecast& forecast,
          const std::vector<RankPlan>& plans) {
  FileSystem& files = posix_file_system();
  const std::string title = fmt::format("{} on {}", e.identity.name, question.cluster.name);
  if (!a.timeline.empty() || !a.trace.empty()) {
    const StepTimeline line = step_timeline(question);
    if (!a.timeline.empty()) {
      files.write(a.timeline, timeline_svg(line.schedule, line.simulation, {.title = title, .time_unit = "s"}));
    }
    constexpr double kMicroseconds = 1e6;
    if (!a.trace.empty()) files.write(a.trace, perfetto_trace(line.schedule, line.simulation, kMicroseconds));
  }
  if (!a.memory.empty()) files.write(a.memory, memory_chart(plans, question.cluster, title + ": memory"));
  if (!a.breakdown.empty()) files.write(a.breakdown, step_chart(forecast, title + ": a step"));
}

// The fastest layout that fits, with all else as the experiment says.
Experiment best_of(const Experiment& e, const SearchResult& result, const SearchSpace& space) {
  if (!result.best.empty()) return with_candidate(e, result.best.front());
  throw Error("the model fits nowhere on this cluster")
      .values(fmt::format("{} on a device", format_bytes(static_cast<std::int64_t>(space.room_bytes))),
              result.nearest.memory_bytes > 0
                  ? fmt::format("at least {}", format_bytes(static_cast<std::int64_t>(result.nearest.memory_bytes)))
                  : std::string("no layout whose state fits"))
      .at(e.place)
      .hint(
          "more devices (--devices), a smaller micro_batch, or more tensor_grains; --free-numerics tries the last two");
}

void run(const PlanArguments& a) {
  const Cluster cluster = load_cluster(a.cluster);
  const ImplementationProfile& profile = implementation_profile(a.profile);
  Experiment e = experiment_of(a, cluster, profile);
  require_device_kind(e, cluster);
  const Workload asked = workload_of(e, e.stages.front());
  const DeviceCost computes(cluster, profile, asked.precision);  // refuses what the device cannot
  nlohmann::json json{{"experiment", e.identity.name}, {"cluster", cluster.name}, {"profile", profile.name}};
  std::string text;
  if (a.explain) require_named_schedule(e);
  if (!a.explain) {
    SearchSpace space{.devices = a.devices > 0 ? a.devices : cluster.devices,
                      .most_tensor = e.numerics.tensor_grains,
                      .free_numerics = a.free_numerics,
                      .wanted = static_cast<std::size_t>(a.rows),
                      .room_bytes = room_bytes(cluster),
                      .layers_of = trainer_layers(e)};
    if (!profile.is_ours()) space.least_bytes = [](const Workload&) { return 0.0; };
    const SearchResult result = search(e, {asked, cluster, profile}, space);
    json["search"] = to_json(result);
    text += search_table(result, space);
    if (result.best.empty() && !a.json) fmt::print("{}", text);
    e = best_of(e, result, space);
    text += fmt::format("\nthe first of them\n");
  }
  require_room_on_cluster(e, cluster);
  const Workload workload = workload_of(e, e.stages.front());
  const StepQuestion question{workload, cluster, profile};
  const StepForecast forecast = forecast_step(question);
  const std::vector<RankPlan> plans = rank_plans(e, profile);
  const RunForecast whole = forecast_run_of(e, cluster, profile);
  json["step"] = to_json(forecast);
  json["memory"] = to_json(plans);
  json["run"] = to_json(whole);
  text += step_table(forecast) + memory_table(plans, room_bytes(cluster)) + run_table(whole, e);
  if (profile.is_ours()) {
    const double mean_step_s = whole.training_days * 86400 / static_cast<double>(e.run.steps);
    const ProofPlan proof = plan_proof(e, question, mean_step_s, a.evaluator_nodes);
    json["proof"] = to_json(proof);
    text += proof_table(proof, e, a.explain);
  }
  draw(a, e, question, forecast, plans);
  fmt::print("{}", a.json ? json.dump(2) + "\n" : text);
}

}  // namespace

void add_plan_command(CLI::App& app) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = app.add_subcommand("plan", "what an experiment takes on a cluster: layouts, memory, time, days");
  command->add_option("experiment", arguments->experiment, "experiment file (TOML)")->required();
  command->add_option("--cluster", arguments->cluster, "cluster file (TOML)")->required();
  command->add_option("--set", arguments->overrides, "override a key of the experiment: section.key=value")
      ->allow_extra_args(false);
  command->add_option("--profile", arguments->profile, "whose trainer: baekji, or a peer's (megatron, fsdp, ...)");
  auto* explain = command->add_flag("--explain", arguments->explain,
                                    "the experiment's own layout, no search, and what a proof's cost consists of");
  command->add_option("--devices", arguments->devices, "devices to lay out; all of the cluster's unless given")
      ->check(CLI::PositiveNumber)
      ->excludes(explain);
  command->add_option("--rows", arguments->rows, "layouts to show")->check(CLI::PositiveNumber)->excludes(explain);
  command
      ->add_flag("--free-numerics", arguments->free_numerics,
                 "vary micro_batch, replicas and tensor_grains, too: other contracts")
      ->excludes(explain);
  command
      ->add_option("--evaluator-nodes", arguments->evaluator_nodes,
                   "machines of the cluster's kind on which an evaluator replays drawn steps")
      ->check(CLI::Range(1, 1 << 20));
  command->add_flag("--json", arguments->json, "everything as JSON");
  command->add_option("--timeline", arguments->timeline, "draw the pipeline's step (SVG)");
  command->add_option("--trace", arguments->trace, "write it as trace events for Perfetto (JSON)");
  command->add_option("--memory", arguments->memory, "draw the memory of each pipeline rank (SVG)");
  command->add_option("--breakdown", arguments->breakdown, "draw where the step's time goes (SVG)");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace baekji
