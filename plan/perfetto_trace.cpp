#include "plan/perfetto_trace.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

namespace baekji {
namespace {

using Json = nlohmann::json;

const char* category_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return "forward";
    case ActionKind::kBackward:
      return "backward";
    case ActionKind::kBackwardInput:
      return "input gradient";
    case ActionKind::kBackwardWeight:
      return "weight gradient";
    default:
      return "transfer";
  }
}

Json track_name(std::int64_t rank, std::int64_t track, const std::string& name) {
  return {{"ph", "M"}, {"pid", rank}, {"tid", track}, {"name", "thread_name"}, {"args", {{"name", name}}}};
}

// What a send and its receive have in common: direction, stage that receives, micro-batch.
using TransferKey = std::tuple<bool, std::int64_t, std::int64_t>;
TransferKey key_of(const Schedule& schedule, std::int64_t rank, const Action& action) {
  return {is_backward_transfer(action.kind), schedule.receiving_stage(rank, action), action.micro_batch};
}

Json event_of(const Action& action, std::int64_t rank, double begin_us, double end_us) {
  return {{"ph", "X"},
          {"pid", rank},
          {"tid", is_transfer(action.kind) ? 1 : 0},
          {"name", action.describe()},
          {"cat", category_of(action.kind)},
          {"ts", begin_us},
          {"dur", end_us - begin_us},
          {"args", {{"micro_batch", action.micro_batch}, {"virtual_stage", action.virtual_stage}}}};
}

}  // namespace

std::string perfetto_trace(const Schedule& schedule, const Simulation& simulation, double us_per_unit) {
  std::map<TransferKey, double> sent;
  for (std::size_t rank = 0; rank < simulation.ranks.size(); ++rank) {
    for (const TimedAction& a : simulation.ranks[rank]) {
      if (is_send(a.action.kind)) sent[key_of(schedule, static_cast<std::int64_t>(rank), a.action)] = a.begin;
    }
  }
  Json events = Json::array();
  for (std::size_t r = 0; r < simulation.ranks.size(); ++r) {
    const auto rank = static_cast<std::int64_t>(r);
    events.push_back({{"ph", "M"},
                      {"pid", rank},
                      {"name", "process_name"},
                      {"args", {{"name", fmt::format("pipeline rank {}", rank)}}}});
    events.push_back(track_name(rank, 0, "passes"));
    events.push_back(track_name(rank, 1, "transfers"));
    for (const TimedAction& a : simulation.ranks[r]) {
      if (is_send(a.action.kind)) continue;  // its receive spans both
      const bool transfer = is_transfer(a.action.kind);
      const double begin = transfer ? sent.at(key_of(schedule, rank, a.action)) : a.begin;
      events.push_back(event_of(a.action, rank, begin * us_per_unit, a.end * us_per_unit));
    }
  }
  return Json{{"displayTimeUnit", "ms"}, {"traceEvents", events}}.dump();
}

}  // namespace baekji
