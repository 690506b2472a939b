#include "trainer/plan_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "plan/bar_chart.h"
#include "trainer/layout.h"

namespace baekji {
namespace {

std::string bytes_text(double bytes) {
  return format_bytes(static_cast<std::int64_t>(bytes));
}

std::string interval_text(double seconds) {
  if (!std::isfinite(seconds)) return "never";
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  return seconds < 7200 ? fmt::format("{:.0f} minutes", seconds / 60) : fmt::format("{:.1f} hours", seconds / 3600);
}

nlohmann::json layout_json(const Candidate& c) {
  const ParallelLayout& l = c.workload.layout;
  return {{"pipeline", l.pipeline},
          {"data", l.data},
          {"tensor", l.tensor},
          {"virtual_stages", l.virtual_stages},
          {"schedule", l.schedule},
          {"zero", l.zero},
          {"recompute", word_of(l.recompute)},
          {"micro_batch", c.workload.micro_batch},
          {"replicas", c.workload.replicas},
          {"tensor_grains", c.tensor_grains},
          {"other_contract", c.other_contract}};
}

}  // namespace

std::string describe(const Candidate& c) {
  const ParallelLayout& l = c.workload.layout;
  std::string text = fmt::format("{}x{}x{}", l.pipeline, l.data, l.tensor);
  if (l.pipeline > 1) text += " " + l.schedule;
  if (l.virtual_stages > 1) text += fmt::format(" v{}", l.virtual_stages);
  text += fmt::format(", zero {}, recompute {}", l.zero, word_of(l.recompute));
  if (c.other_contract) {
    text += fmt::format(" (other contract: micro_batch {}, replicas {}, tensor_grains {})", c.workload.micro_batch,
                        c.workload.replicas, c.tensor_grains);
  }
  return text;
}

std::string search_table(const SearchResult& result, const SearchSpace& space) {
  std::string text =
      fmt::format("layouts    {} tried on {} devices, pipeline x data x tensor\n", result.tried, space.devices);
  for (const Candidate& c : result.best) {
    text +=
        fmt::format("  {:>9.3f} s {:>9.0f} tokens/s a device  mfu {:>4.1f}%  {:>9}  {}\n", c.forecast.step_s,
                    c.forecast.tokens_per_s_per_device, 100 * c.forecast.mfu, bytes_text(c.memory_bytes), describe(c));
  }
  if (result.best.empty()) {
    text += "  none fits";
    if (result.nearest.memory_bytes > 0) {
      text += fmt::format(": the nearest, {}, needs {} of {}: {} more", describe(result.nearest),
                          bytes_text(result.nearest.memory_bytes), bytes_text(space.room_bytes),
                          bytes_text(result.nearest.memory_bytes - space.room_bytes));
    }
    text +=
        "\n  what helps: more devices, a smaller micro_batch, more tensor_grains (both other contracts: "
        "--free-numerics)\n";
  }
  for (const auto& [reason, count] : result.refused) text += fmt::format("  left out {:>6}: {}\n", count, reason);
  return text;
}

std::string step_table(const StepForecast& f) {
  std::string text = fmt::format("step       {:.3f} s, {:.0f} tokens/s a device, mfu {:.1f}%\n", f.step_s,
                                 f.tokens_per_s_per_device, 100 * f.mfu);
  for (const NamedSeconds& part : f.parts) {
    if (part.seconds <= 0) continue;
    text += fmt::format("  {:<18} {:>9.4f} s {:>5.1f}%\n", part.name, part.seconds, 100 * part.seconds / f.step_s);
  }
  return text;
}

std::string memory_table(const std::vector<RankPlan>& plans, double room) {
  std::string text;
  for (const RankPlan& plan : plans) {
    const bool fits = static_cast<double>(plan.total_bytes) <= room;
    text += fmt::format("memory     pipeline rank {:<3} {:>10} of {}{}\n", plan.pipeline_rank,
                        format_bytes(plan.total_bytes), bytes_text(room), fits ? "" : "  too much");
  }
  const auto largest = std::max_element(
      plans.begin(), plans.end(), [](const RankPlan& a, const RankPlan& b) { return a.total_bytes < b.total_bytes; });
  text += fmt::format("the largest, pipeline rank {}\n", largest->pipeline_rank);
  for (const auto& [name, bytes] : largest->parts) text += fmt::format("  {:<28} {:>12}\n", name, format_bytes(bytes));
  return text;
}

std::string run_table(const RunForecast& r, const Experiment& e) {
  double tokens = 0;
  for (std::size_t i = 0; i < e.stages.size(); ++i) {
    tokens += static_cast<double>(steps_of(e, i) * e.stages[i].global_batch * e.stages[i].context);
  }
  std::string text =
      fmt::format("run        {} steps, {:.4g} tokens: {:.1f} days of training, {:.1f} days in all (goodput {:.1f}%)\n",
                  e.run.steps, tokens, r.training_days, r.days, 100 * r.goodput);
  text += fmt::format("           {:.4g} device-hours, {:.4g} MWh\n", r.device_hours, r.energy_mwh);
  text += fmt::format(
      "failures   one in {}; a checkpoint every {} (run.checkpoint_every = {}), written in {}; the best is every {} "
      "({} steps)\n",
      interval_text(r.mean_time_to_failure_s), interval_text(r.interval_s), e.run.checkpoint_every,
      interval_text(r.write_s), interval_text(r.best_interval_s), r.best_every);
  return text;
}

nlohmann::json to_json(const StepForecast& f) {
  nlohmann::json parts = nlohmann::json::object();
  for (const NamedSeconds& part : f.parts) parts[part.name] = part.seconds;
  return {
      {"step_s", f.step_s}, {"tokens_per_s_per_device", f.tokens_per_s_per_device}, {"mfu", f.mfu}, {"parts_s", parts}};
}

nlohmann::json to_json(const RunForecast& r) {
  nlohmann::json json{{"training_days", r.training_days},
                      {"days", r.days},
                      {"goodput", r.goodput},
                      {"device_hours", r.device_hours},
                      {"energy_mwh", r.energy_mwh},
                      {"checkpoint_write_s", r.write_s},
                      {"checkpoint_interval_s", r.interval_s},
                      {"best_checkpoint_every", r.best_every}};
  if (std::isfinite(r.mean_time_to_failure_s)) json["mean_time_to_failure_s"] = r.mean_time_to_failure_s;
  return json;
}

nlohmann::json to_json(const SearchResult& result) {
  nlohmann::json best = nlohmann::json::array();
  for (const Candidate& c : result.best) {
    best.push_back({{"layout", layout_json(c)}, {"forecast", to_json(c.forecast)}, {"memory_bytes", c.memory_bytes}});
  }
  return {{"tried", result.tried}, {"best", best}, {"refused", result.refused}};
}

nlohmann::json to_json(const std::vector<RankPlan>& plans) {
  nlohmann::json json = nlohmann::json::array();
  for (const RankPlan& plan : plans) {
    nlohmann::json parts = nlohmann::json::object();
    for (const auto& [name, bytes] : plan.parts) parts[name] = bytes;
    json.push_back({{"pipeline_rank", plan.pipeline_rank}, {"total_bytes", plan.total_bytes}, {"parts", parts}});
  }
  return json;
}

std::string memory_chart(const std::vector<RankPlan>& plans, const Cluster& cluster, const std::string& title) {
  std::vector<Bar> bars;
  for (const RankPlan& plan : plans) {
    Bar bar{.label = fmt::format("pipeline rank {}", plan.pipeline_rank), .parts = {}};
    for (const auto& [name, bytes] : plan.parts) bar.parts.push_back({name, static_cast<double>(bytes) / kBytesPerGib});
    bars.push_back(std::move(bar));
  }
  return bar_chart_svg(bars, {.title = title,
                              .unit = "GiB",
                              .limit = room_bytes(cluster) / kBytesPerGib,
                              .limit_label = "room on " + cluster.device.name});
}

std::string step_chart(const StepForecast& f, const std::string& title) {
  Bar bar{.label = "step", .parts = {}};
  for (const NamedSeconds& part : f.parts) bar.parts.push_back({part.name, part.seconds});
  return bar_chart_svg(std::span(&bar, 1), {.title = title, .unit = "s", .limit = 0, .limit_label = {}});
}

}  // namespace baekji
