#include "parallel/schedule.h"

#include <algorithm>

#include "core/error.h"

namespace baekji {
namespace {

// The highest that a count gets over one rank's list; `change` says by how much an action changes it.
template <class Change>
std::int64_t peak(const std::vector<Action>& actions, const Change& change) {
  std::int64_t count = 0;
  std::int64_t highest = 0;
  for (const Action& action : actions) {
    count += change(action);
    highest = std::max(highest, count);
  }
  return highest;
}

std::int64_t live_change(const Action& action) {
  switch (action.kind) {
    case ActionKind::kForward:
      return 1;
    case ActionKind::kBackward:
    case ActionKind::kBackwardWeight:
      return -1;
    default:
      return 0;
  }
}

}  // namespace

bool is_transfer(ActionKind kind) {
  return kind >= ActionKind::kSendForward;
}

bool is_send(ActionKind kind) {
  return kind == ActionKind::kSendForward || kind == ActionKind::kSendBackward;
}

bool is_backward_transfer(ActionKind kind) {
  return kind == ActionKind::kSendBackward || kind == ActionKind::kReceiveBackward;
}

std::int64_t Schedule::receiving_stage(std::int64_t rank, const Action& transfer) const {
  const std::int64_t here = stage(rank, transfer.virtual_stage);
  if (!is_send(transfer.kind)) return here;
  return is_backward_transfer(transfer.kind) ? here - 1 : here + 1;
}

std::string Action::describe() const {
  constexpr const char* kLetters[] = {"F", "B", "I", "W", "SF", "RF", "SB", "RB"};
  const std::string text = fmt::format("{}{}", kLetters[static_cast<std::size_t>(kind)], micro_batch);
  return virtual_stage == 0 ? text : fmt::format("{}.{}", text, virtual_stage);
}

bool Schedule::runs(std::int64_t rank, ActionKind kind) const {
  const std::vector<Action>& list = actions.at(static_cast<std::size_t>(rank));
  return std::any_of(list.begin(), list.end(), [&](const Action& action) { return action.kind == kind; });
}

std::int64_t Schedule::peak_live(std::int64_t rank, std::int64_t virtual_stage) const {
  return peak(actions.at(static_cast<std::size_t>(rank)),
              [&](const Action& action) { return action.virtual_stage == virtual_stage ? live_change(action) : 0; });
}

std::int64_t Schedule::peak_live(std::int64_t rank) const {
  return peak(actions.at(static_cast<std::size_t>(rank)), live_change);
}

std::int64_t Schedule::peak_pending(std::int64_t rank, std::int64_t virtual_stage) const {
  return peak(actions.at(static_cast<std::size_t>(rank)), [&](const Action& action) -> std::int64_t {
    if (action.virtual_stage != virtual_stage) return 0;
    if (action.kind == ActionKind::kBackwardInput) return 1;
    return action.kind == ActionKind::kBackwardWeight ? -1 : 0;
  });
}

}  // namespace baekji
