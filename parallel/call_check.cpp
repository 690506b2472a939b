#include "parallel/call_check.h"

#include <array>
#include <deque>
#include <vector>

#include "parallel/collective_errors.h"

namespace baekji {
namespace {

bool is_send(const RecordedCall& call) {
  return !call.finishes_sends && call.call.kind == CollectiveKind::kSend;
}
bool is_receive(const RecordedCall& call) {
  return !call.finishes_sends && call.call.kind == CollectiveKind::kReceive;
}

class Play {
 public:
  explicit Play(const CallCheck& check)
      : check_(check),
        next_(check.records.size()),
        is_ready_(check.records.size(), true),
        collectives_(check.groups->groups().size()),
        channels_(check.groups->groups().size()),
        waiting_(check.records.size(), false) {
    for (std::size_t rank = 0; rank < check.records.size(); ++rank) {
      ready_.push_back(static_cast<std::int32_t>(rank));
      passed_.emplace_back(check.groups->memberships(static_cast<std::int64_t>(rank)).size());
    }
  }

  std::int64_t run() {
    while (!ready_.empty()) {
      const std::int32_t rank = ready_.front();
      ready_.pop_front();
      is_ready_[index(rank)] = false;
      while (const RecordedCall* call = next(rank)) {
        if (!goes_on(rank, *call)) break;
        ++next_[index(rank)];
        ++played_;
      }
    }
    for (std::size_t rank = 0; rank < next_.size(); ++rank) {
      if (next(static_cast<std::int32_t>(rank)) != nullptr) fail_at(static_cast<std::int32_t>(rank));
    }
    require_all_received();
    return played_;
  }

 private:
  using Group = RecordedGroups::Group;
  // The collective that a group is in.
  struct Collective {
    const RecordedCall* call = nullptr;  // of the first rank that came
    std::int32_t first = 0;
    std::size_t arrived = 0;
    std::int64_t made = 0;
  };
  // Of a group in which ranks send, from its rank 0 to 1, and from 1 to 0. Messages come in order.
  struct Channel {
    std::deque<const RecordedCall*> sent;  // and not received
  };

  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
  const RecordedCall* next(std::int32_t rank) const {
    const CallRecord& record = *check_.records[index(rank)];
    return next_[index(rank)] < record.size() ? &record[next_[index(rank)]] : nullptr;
  }
  const RecordedGroups::Membership& member(std::int32_t rank, const RecordedCall& call) const {
    return check_.groups->memberships(rank)[index(call.group)];
  }
  const Group& group_of(std::int32_t rank, const RecordedCall& call) const {
    return check_.groups->groups()[index(member(rank, call).group)];
  }
  Channel& channel(std::int32_t rank, const RecordedCall& call, bool outgoing) {
    const RecordedGroups::Membership& m = member(rank, call);
    return channels_[index(m.group)][index(outgoing ? m.rank : 1 - m.rank)];
  }
  void wake(std::int32_t rank) {
    if (is_ready_[index(rank)]) return;
    is_ready_[index(rank)] = true;
    ready_.push_back(rank);
  }
  std::string place(std::int32_t rank, const RecordedCall& call) const {
    return check_.rank_name(rank) + ", " + group_of(rank, call).name + " group";
  }

  // Makes the rank's call if it can be made now.
  bool goes_on(std::int32_t rank, const RecordedCall& call) {
    if (call.finishes_sends) return std::ssize(channel(rank, call, true).sent) <= call.under_way;
    if (is_send(call)) {
      channel(rank, call, true).sent.push_back(&call);
      wake(peer(rank, call));
      return true;
    }
    if (is_receive(call)) return receives(rank, call);
    return collective(rank, call);
  }

  std::int32_t peer(std::int32_t rank, const RecordedCall& call) const {
    const Group& group = group_of(rank, call);
    require_equal(std::int64_t{2}, std::ssize(group.ranks), "ranks send in groups of two", place(rank, call));
    return group.ranks[index(1 - member(rank, call).rank)];
  }

  bool receives(std::int32_t rank, const RecordedCall& call) {
    if (!channel(rank, call, true).sent.empty()) return false;
    std::deque<const RecordedCall*>& coming = channel(rank, call, false).sent;
    if (coming.empty()) return false;
    const CollectiveCall& sent = coming.front()->call;
    const std::int32_t from = peer(rank, call);
    if (sent.type != call.call.type || sent.count != call.call.count)
      throw different_message(check_.rank_name(rank), call.call, check_.rank_name(from), sent, place(rank, call));
    coming.pop_front();
    wake(from);
    return true;
  }

  bool collective(std::int32_t rank, const RecordedCall& call) {
    const RecordedGroups::Membership& m = member(rank, call);
    Collective& here = collectives_[index(m.group)];
    const std::int64_t mine = passed(rank, call.group);
    if (mine < here.made) {  // the others came, and it was made
      ++passed(rank, call.group);
      return true;
    }
    if (waiting_[index(rank)]) return false;
    if (here.arrived == 0) {
      here.call = &call;
      here.first = rank;
    } else if (!(here.call->call == call.call)) {
      throw different_calls(check_.rank_name(rank), call.call, check_.rank_name(here.first), here.call->call,
                            place(rank, call));
    }
    const Group& group = group_of(rank, call);
    if (++here.arrived < group.ranks.size()) {
      waiting_[index(rank)] = true;
      return false;
    }
    here.arrived = 0;
    ++here.made;
    for (const std::int32_t other : group.ranks) {
      waiting_[index(other)] = false;
      if (other != rank) wake(other);
    }
    ++passed(rank, call.group);
    return true;
  }

  // Collectives of one of its groups that a rank has passed.
  std::int64_t& passed(std::int32_t rank, std::int32_t group) { return passed_[index(rank)][index(group)]; }

  std::string describe_wait(std::int32_t rank) const {
    const RecordedCall* call = next(rank);
    if (call == nullptr) return fmt::format("{} has ended", check_.rank_name(rank));
    const std::string what = call->finishes_sends ? "the end of its sends" : call->call.describe();
    return fmt::format("{} waits for {} ({})", check_.rank_name(rank), what, group_of(rank, *call).name);
  }

  [[noreturn]] void fail_at(std::int32_t rank) const {
    const RecordedCall& call = *next(rank);
    std::string others;
    std::size_t named = 0;
    for (const std::int32_t other : group_of(rank, call).ranks) {
      const RecordedCall* theirs = next(other);
      const bool is_there = theirs != nullptr && member(other, *theirs).group == member(rank, call).group;
      if (other == rank || (is_there && !is_receive(call) && !call.finishes_sends) || ++named > 3) continue;
      others += (others.empty() ? "" : "; ") + describe_wait(other);
    }
    throw Error("ranks would wait for each other for ever")
        .values(call.finishes_sends ? "receives of what was sent" : call.call.describe() + " of the whole group",
                others)
        .at(place(rank, call));
  }

  void require_all_received() const {
    for (std::size_t g = 0; g < channels_.size(); ++g) {
      for (const Channel& channel : channels_[g]) {
        if (channel.sent.empty()) continue;
        throw Error("something is sent that nobody receives")
            .values("a receive", channel.sent.front()->call.describe())
            .at(check_.groups->groups()[g].name + " group");
      }
    }
  }

  const CallCheck& check_;
  std::vector<std::size_t> next_;  // by rank: its place in its record
  std::deque<std::int32_t> ready_;
  std::vector<bool> is_ready_;
  std::vector<Collective> collectives_;            // by group
  std::vector<std::array<Channel, 2>> channels_;   // by group; from the group's rank 0, and from 1
  std::vector<std::vector<std::int64_t>> passed_;  // by rank, its group
  std::vector<bool> waiting_;                      // by rank: it has come to a collective
  std::int64_t played_ = 0;
};

}  // namespace

std::int64_t check_calls(const CallCheck& check) {
  require_equal(check.groups->ranks(), std::ssize(check.records), "one record for each rank", "recorded calls");
  return Play(check).run();
}

}  // namespace baekji
