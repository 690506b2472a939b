#include "parallel/schedule.h"

#include <algorithm>

#include "core/error.h"

namespace baekji {

std::int64_t Schedule::peak_live(std::size_t pipeline_rank) const {
  std::int64_t live = 0;
  std::int64_t peak = 0;
  for (const Action& action : actions.at(pipeline_rank)) {
    live += action.kind == ActionKind::kForward ? 1 : -1;
    peak = std::max(peak, live);
  }
  return peak;
}

std::string Schedule::describe() const {
  std::string text;
  for (std::size_t p = 0; p < actions.size(); ++p) {
    text += fmt::format("{}:", p);
    for (const Action& action : actions[p]) {
      text += fmt::format(" {}{}", action.kind == ActionKind::kForward ? 'F' : 'B', action.micro_batch);
    }
    text += '\n';
  }
  return text;
}

Schedule one_forward_one_backward(std::int64_t stages, std::int64_t micro_batches) {
  Schedule schedule{.actions = {}, .micro_batches = micro_batches};
  for (std::int64_t stage = 0; stage < stages; ++stage) {
    const std::int64_t warm_up = std::min(stages - stage - 1, micro_batches);
    std::vector<Action> list;
    for (std::int64_t m = 0; m < warm_up; ++m) list.push_back({ActionKind::kForward, m});
    for (std::int64_t m = 0; m < micro_batches; ++m) {
      if (m + warm_up < micro_batches) list.push_back({ActionKind::kForward, m + warm_up});
      list.push_back({ActionKind::kBackward, m});
    }
    schedule.actions.push_back(std::move(list));
  }
  return schedule;
}

void validate(const Schedule& schedule) {
  for (std::size_t p = 0; p < schedule.actions.size(); ++p) {
    std::vector<bool> forward_done(static_cast<std::size_t>(schedule.micro_batches), false);
    std::int64_t next_backward = 0;
    for (const Action& action : schedule.actions[p]) {
      const std::string place = fmt::format("pipeline rank {}, micro-batch {}", p, action.micro_batch);
      if (action.micro_batch < 0 || action.micro_batch >= schedule.micro_batches) {
        throw Error("the schedule names a micro-batch that does not exist")
            .values(fmt::format("0..{}", schedule.micro_batches - 1), fmt::format("{}", action.micro_batch))
            .at(place);
      }
      const auto m = static_cast<std::size_t>(action.micro_batch);
      if (action.kind == ActionKind::kForward) {
        if (forward_done[m]) throw Error("the schedule runs a forward pass twice").at(place);
        forward_done[m] = true;
      } else {
        require_equal(next_backward, action.micro_batch, "weight gradients must keep micro-batch order", place);
        if (!forward_done[m]) throw Error("the schedule runs a backward pass before its forward pass").at(place);
        ++next_backward;
      }
    }
    require_equal(schedule.micro_batches, next_backward, "the schedule leaves micro-batches out",
                  fmt::format("pipeline rank {}", p));
  }
}

}  // namespace baekji
