#include "parallel/schedule_checks.h"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>

#include "core/error.h"

namespace baekji {
namespace {

// The passes of one stage, checked one after another.
class StagePasses {
 public:
  StagePasses(std::int64_t micro_batches, std::string place)
      : micro_batches_(micro_batches), place_(std::move(place)) {}

  void take(const Action& action) {
    const std::string where = fmt::format("{}, {}", place_, action.describe());
    switch (action.kind) {
      case ActionKind::kForward:
        require_equal(forward_++, action.micro_batch, "forward passes of a stage must come in index order", where);
        break;
      case ActionKind::kBackward:
        take_input(action, where);
        take_weight(action, where);
        break;
      case ActionKind::kBackwardInput:
        take_input(action, where);
        break;
      default:
        take_weight(action, where);
    }
  }
  void finish() const {
    require_equal(micro_batches_, forward_, "the schedule leaves forward passes out", place_);
    require_equal(micro_batches_, input_, "the schedule leaves backward passes out", place_);
    require_equal(micro_batches_, weight_, "the schedule leaves weight gradients out", place_);
  }

 private:
  void take_input(const Action& action, const std::string& where) {
    require_equal(input_++, action.micro_batch, "gradients must keep micro-batch order", where);
    if (input_ > forward_) throw Error("the schedule runs a backward pass before its forward pass").at(where);
  }
  void take_weight(const Action& action, const std::string& where) {
    require_equal(weight_++, action.micro_batch, "weight gradients must keep micro-batch order", where);
    if (weight_ > input_) throw Error("the schedule computes weight gradients before those of the input").at(where);
  }

  std::int64_t micro_batches_;
  std::string place_;
  std::int64_t forward_ = 0;  // next expected of each
  std::int64_t input_ = 0;
  std::int64_t weight_ = 0;
};

void validate_passes(const Schedule& schedule) {
  for (std::int64_t rank = 0; rank < schedule.ranks(); ++rank) {
    std::vector<StagePasses> stages;
    for (std::int64_t v = 0; v < schedule.virtual_stages; ++v) {
      stages.emplace_back(schedule.micro_batches,
                          fmt::format("pipeline rank {}, stage {}", rank, schedule.stage(rank, v)));
    }
    for (const Action& action : schedule.actions[static_cast<std::size_t>(rank)]) {
      const std::string place = fmt::format("pipeline rank {}, {}", rank, action.describe());
      if (action.virtual_stage < 0 || action.virtual_stage >= schedule.virtual_stages) {
        throw Error("the schedule names a stage that its rank does not have")
            .values(fmt::format("0..{}", schedule.virtual_stages - 1), fmt::format("{}", action.virtual_stage))
            .at(place);
      }
      if (action.micro_batch < 0 || action.micro_batch >= schedule.micro_batches) {
        throw Error("the schedule names a micro-batch that does not exist")
            .values(fmt::format("0..{}", schedule.micro_batches - 1), fmt::format("{}", action.micro_batch))
            .at(place);
      }
      if (!is_transfer(action.kind)) stages[static_cast<std::size_t>(action.virtual_stage)].take(action);
    }
    for (const StagePasses& stage : stages) stage.finish();
  }
}

// What is under way between two ranks in one direction: (stage that receives, micro-batch), and when it has come.
struct Message {
  std::int64_t to_stage = 0;
  std::int64_t micro_batch = 0;
  double arrives = 0;
};

// Plays the lists against one another. Each rank goes on as far as it can; when none can, they are done or stuck.
class Player {
 public:
  Player(const Schedule& schedule, const PassCosts& costs)
      : schedule_(schedule), costs_(costs), state_(static_cast<std::size_t>(schedule.ranks())) {
    result_.ranks.resize(state_.size());
    result_.busy.resize(state_.size());
    for (std::int64_t rank = 0; rank < schedule.ranks(); ++rank) result_.peak_live.push_back(schedule.peak_live(rank));
  }

  Simulation run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (std::int64_t rank = 0; rank < schedule_.ranks(); ++rank) {
        while (step(rank)) moved = true;
      }
    }
    for (std::int64_t rank = 0; rank < schedule_.ranks(); ++rank) require_done(rank);
    for (const RankState& rank : state_) result_.length = std::max(result_.length, rank.time);
    return std::move(result_);
  }

 private:
  struct RankState {
    std::size_t next = 0;
    double time = 0;
    std::size_t gradients_sent = 0;
    std::vector<double> gradients_received;                               // when each had come
    std::map<std::pair<std::int64_t, std::int64_t>, bool> forward_came;   // (stage, micro-batch)
    std::map<std::pair<std::int64_t, std::int64_t>, bool> backward_came;  // the same
  };
  struct Channel {
    std::int64_t from = 0;
    std::int64_t to = 0;
    bool backward = false;
    auto operator<=>(const Channel&) const = default;
  };

  RankState& state(std::int64_t rank) { return state_[static_cast<std::size_t>(rank)]; }
  std::int64_t rank_of(std::int64_t stage) const { return stage % schedule_.ranks(); }

  // Runs the rank's next action if it can run now.
  bool step(std::int64_t rank) {
    RankState& s = state(rank);
    const std::vector<Action>& list = schedule_.actions[static_cast<std::size_t>(rank)];
    if (s.next == list.size()) return false;
    const Action& action = list[s.next];
    const std::int64_t stage = schedule_.stage(rank, action.virtual_stage);
    const double begin = s.time;
    switch (action.kind) {
      case ActionKind::kSendForward:
        channels_[{rank, neighbour(rank, stage, stage + 1, action), false}].push_back(
            {stage + 1, action.micro_batch, s.time + costs_.transfer});
        break;
      case ActionKind::kSendBackward:
        channels_[{rank, neighbour(rank, stage, stage - 1, action), true}].push_back(
            {stage - 1, action.micro_batch, s.time + costs_.transfer});
        ++s.gradients_sent;
        break;
      case ActionKind::kReceiveForward:
        if (!receive(rank, stage, {neighbour(rank, stage, stage - 1, action), rank, false}, action)) return false;
        s.forward_came[{stage, action.micro_batch}] = true;
        break;
      case ActionKind::kReceiveBackward:
        if (!take_gradient_buffer(s)) return false;
        if (!receive(rank, stage, {neighbour(rank, stage, stage + 1, action), rank, true}, action)) return false;
        s.backward_came[{stage, action.micro_batch}] = true;
        break;
      default:
        if (!pass(rank, stage, action)) return false;
    }
    result_.ranks[static_cast<std::size_t>(rank)].push_back({action, begin, s.time});
    ++s.next;
    return true;
  }

  std::int64_t neighbour(std::int64_t rank, std::int64_t stage, std::int64_t other, const Action& action) const {
    if (other >= 0 && other < schedule_.stages() && rank_of(other) != rank) return rank_of(other);
    throw Error("the schedule exchanges values where there is no other rank")
        .at(fmt::format("pipeline rank {}, stage {}, {}", rank, stage, action.describe()));
  }

  bool receive(std::int64_t rank, std::int64_t stage, const Channel& channel, const Action& action) {
    std::deque<Message>& queue = channels_[channel];
    if (queue.empty()) return false;
    const Message message = queue.front();
    if (message.to_stage != stage || message.micro_batch != action.micro_batch) {
      throw Error("a receive meets another send: a channel delivers in order")
          .values(fmt::format("stage {}, micro-batch {}", stage, action.micro_batch),
                  fmt::format("stage {}, micro-batch {} (from pipeline rank {})", message.to_stage, message.micro_batch,
                              channel.from))
          .at(fmt::format("pipeline rank {}, {}", rank, action.describe()));
    }
    queue.pop_front();
    state(rank).time = std::max(state(rank).time, message.arrives);
    if (channel.backward) state(channel.from).gradients_received.push_back(state(rank).time);
    return true;
  }

  // The buffers are used in turn: the next one is free when what was sent from it has been received.
  static bool take_gradient_buffer(RankState& s) {
    if (s.gradients_sent < kGradientBuffers) return true;
    const std::size_t before = s.gradients_sent - kGradientBuffers;
    if (s.gradients_received.size() <= before) return false;
    s.time = std::max(s.time, s.gradients_received[before]);
    return true;
  }

  bool pass(std::int64_t rank, std::int64_t stage, const Action& action) {
    RankState& s = state(rank);
    const auto came = [&](auto& set, bool wanted, const char* what) {
      if (!wanted || set.erase({stage, action.micro_batch}) > 0) return;
      throw Error(fmt::format("the schedule does not receive {} before it needs it", what))
          .at(fmt::format("pipeline rank {}, stage {}, {}", rank, stage, action.describe()));
    };
    const bool backward = action.kind == ActionKind::kBackward || action.kind == ActionKind::kBackwardInput;
    // The last stage makes its own gradient, in the buffer that a received one would come into.
    if (backward && !take_gradient_buffer(s)) return false;
    came(s.forward_came, action.kind == ActionKind::kForward && stage > 0 && schedule_.ranks() > 1, "an input");
    came(s.backward_came, backward && stage < schedule_.stages() - 1 && schedule_.ranks() > 1, "a gradient");
    const double cost = cost_of(stage, action.kind);
    s.time += cost;
    result_.busy[static_cast<std::size_t>(rank)] += cost;
    return true;
  }

  double cost_of(std::int64_t stage, ActionKind kind) const {
    const auto s = static_cast<std::size_t>(stage);
    switch (kind) {
      case ActionKind::kForward:
        return costs_.forward[s];
      case ActionKind::kBackward:
        return costs_.backward_input[s] + costs_.backward_weight[s];
      case ActionKind::kBackwardInput:
        return costs_.backward_input[s];
      default:
        return costs_.backward_weight[s];
    }
  }

  void require_done(std::int64_t rank) {
    const std::vector<Action>& list = schedule_.actions[static_cast<std::size_t>(rank)];
    const std::size_t next = state(rank).next;
    if (next < list.size()) {
      throw Error("the schedule comes to a stop: every rank waits for another")
          .values("all actions done", fmt::format("{} waits", list[next].describe()))
          .at(fmt::format("pipeline rank {}, action {} of {}", rank, next, list.size()));
    }
    for (const auto& [channel, queue] : channels_) {
      if (queue.empty()) continue;
      throw Error("the schedule sends what nobody receives")
          .at(fmt::format("pipeline rank {} to {}, micro-batch {}", channel.from, channel.to,
                          queue.front().micro_batch));
    }
  }

  const Schedule& schedule_;
  const PassCosts& costs_;
  std::vector<RankState> state_;
  std::map<Channel, std::deque<Message>> channels_;
  Simulation result_;
};

}  // namespace

PassCosts unit_costs(std::int64_t stages) {
  const std::vector<double> one(static_cast<std::size_t>(stages), 1.0);
  return {.forward = one, .backward_input = one, .backward_weight = one};
}

void validate(const Schedule& schedule) {
  validate_passes(schedule);
  (void)simulate(schedule, unit_costs(schedule.stages()));
}

double Simulation::bubble() const {
  const double busy_total = std::accumulate(busy.begin(), busy.end(), 0.0);
  return length > 0 ? 1.0 - busy_total / (length * static_cast<double>(busy.size())) : 0.0;
}

Simulation simulate(const Schedule& schedule, const PassCosts& costs) {
  return Player(schedule, costs).run();
}

}  // namespace baekji
