#include "parallel/schedule_generators.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace baekji {
namespace {

// The n-th forward (or backward) pass of a rank under interleaving: micro-batches in groups of one for each rank; a
// group goes through all of the rank's stages before the next one begins.
Action interleaved_pass(ActionKind kind, const ScheduleShape& shape, std::int64_t n) {
  const std::int64_t group = shape.ranks * shape.virtual_stages;
  const std::int64_t turn = n % group / shape.ranks;
  return {.kind = kind,
          .micro_batch = n / group * shape.ranks + n % shape.ranks,
          .virtual_stage = kind == ActionKind::kForward ? turn : shape.virtual_stages - 1 - turn};
}

void require_shape(bool ok, std::string_view name, const std::string& required, const std::string& came) {
  if (ok) return;
  throw Error(fmt::format("schedule \"{}\" cannot hold that", name))
      .values(required, came)
      .at("[layout] schedule, pipeline, virtual_stages; [numerics] global_batch, micro_batch, replicas");
}

}  // namespace

Schedule one_forward_one_backward(std::int64_t ranks, std::int64_t micro_batches) {
  Schedule schedule{.actions = {}, .micro_batches = micro_batches};
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const std::int64_t warm_up = std::min(ranks - rank - 1, micro_batches);
    std::vector<Action>& list = schedule.actions.emplace_back();
    for (std::int64_t m = 0; m < warm_up; ++m) list.push_back({ActionKind::kForward, m});
    for (std::int64_t m = 0; m < micro_batches; ++m) {
      if (m + warm_up < micro_batches) list.push_back({ActionKind::kForward, m + warm_up});
      list.push_back({ActionKind::kBackward, m});
    }
  }
  return schedule;
}

Schedule interleaved(const ScheduleShape& shape) {
  require_shape(shape.micro_batches % shape.ranks == 0, "interleaved",
                fmt::format("micro-batches of a rank in groups of pipeline = {}", shape.ranks),
                fmt::format("{} micro-batches", shape.micro_batches));
  Schedule schedule{.actions = {}, .micro_batches = shape.micro_batches, .virtual_stages = shape.virtual_stages};
  const std::int64_t passes = shape.micro_batches * shape.virtual_stages;
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank) {
    const std::int64_t warm_up =
        std::min(passes, 2 * (shape.ranks - rank - 1) + (shape.virtual_stages - 1) * shape.ranks);
    std::vector<Action>& list = schedule.actions.emplace_back();
    for (std::int64_t n = 0; n < warm_up; ++n) list.push_back(interleaved_pass(ActionKind::kForward, shape, n));
    for (std::int64_t n = 0; n < passes; ++n) {
      if (n + warm_up < passes) list.push_back(interleaved_pass(ActionKind::kForward, shape, n + warm_up));
      list.push_back(interleaved_pass(ActionKind::kBackward, shape, n));
    }
  }
  return schedule;
}

Schedule zero_bubble_h1(std::int64_t ranks, std::int64_t micro_batches) {
  Schedule schedule = one_forward_one_backward(ranks, micro_batches);
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    std::vector<Action> list;
    std::int64_t next_weight = 0;
    for (const Action& action : schedule.actions[static_cast<std::size_t>(rank)]) {
      list.push_back(action);
      if (action.kind != ActionKind::kBackward) continue;
      list.back().kind = ActionKind::kBackwardInput;
      if (action.micro_batch >= rank) list.push_back({ActionKind::kBackwardWeight, next_weight++});
    }
    while (next_weight < micro_batches) list.push_back({ActionKind::kBackwardWeight, next_weight++});
    schedule.actions[static_cast<std::size_t>(rank)] = std::move(list);
  }
  return schedule;
}

Schedule make_schedule(std::string_view name, const ScheduleShape& shape) {
  if (name == "interleaved") {
    require_shape(shape.ranks > 1 && shape.virtual_stages > 1, name, "pipeline > 1 and virtual_stages > 1",
                  fmt::format("pipeline = {}, virtual_stages = {}", shape.ranks, shape.virtual_stages));
    return with_transfers(interleaved(shape));
  }
  require_shape(shape.virtual_stages == 1, name, "virtual_stages = 1 (\"interleaved\" takes more)",
                fmt::format("virtual_stages = {}", shape.virtual_stages));
  if (name == "zb-h1") return with_transfers(zero_bubble_h1(shape.ranks, shape.micro_batches));
  if (name == "1f1b") return with_transfers(one_forward_one_backward(shape.ranks, shape.micro_batches));
  throw Error("there is no such schedule").values("1f1b, interleaved or zb-h1", std::string(name));
}

Schedule with_transfers(const Schedule& schedule) {
  Schedule result = schedule;
  const std::int64_t last = schedule.stages() - 1;
  for (std::int64_t rank = 0; rank < schedule.ranks() && schedule.ranks() > 1; ++rank) {
    std::vector<Action>& list = result.actions[static_cast<std::size_t>(rank)];
    list.clear();
    for (const Action& action : schedule.actions[static_cast<std::size_t>(rank)]) {
      const std::int64_t stage = schedule.stage(rank, action.virtual_stage);
      const auto add = [&](ActionKind kind, bool wanted) {
        if (wanted) list.push_back({kind, action.micro_batch, action.virtual_stage});
      };
      const bool forward = action.kind == ActionKind::kForward;
      const bool backward = action.kind == ActionKind::kBackward || action.kind == ActionKind::kBackwardInput;
      add(ActionKind::kReceiveForward, forward && stage > 0);
      add(ActionKind::kReceiveBackward, backward && stage < last);
      list.push_back(action);
      add(ActionKind::kSendForward, forward && stage < last);
      add(ActionKind::kSendBackward, backward && stage > 0);
    }
  }
  return result;
}

}  // namespace baekji
