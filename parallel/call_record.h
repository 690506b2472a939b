#pragma once
// The calls of a job's ranks, recorded without the ranks: every rank's code runs in turn on communicators that know how
// large their groups are and send nothing.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace baekji {

/// A call of a rank, or the wait for its own sends.
struct RecordedCall {
  std::int32_t group = 0;  ///< of the rank: 0 is the world, the others in the order in which they were split from it
  bool finishes_sends = false;
  std::int64_t under_way = 0;  ///< finishes_sends: how many may stay
  CollectiveCall call;         ///< otherwise
};
using CallRecord = std::vector<RecordedCall>;

/// Who is in which group, as all ranks together made them by splits of the world.
class RecordedGroups {
 public:
  struct Group {
    std::string name;
    std::vector<std::int32_t> ranks;  ///< of the job, in the group's order
  };
  /// What a rank is in a group.
  struct Membership {
    std::int32_t group = 0;  ///< index into groups()
    std::int32_t rank = 0;
  };

  /// `make_groups` splits a rank's groups from its world, and is called for every rank.
  RecordedGroups(std::int64_t ranks, const std::function<void(Communicator& world)>& make_groups);

  std::int64_t ranks() const { return static_cast<std::int64_t>(memberships_.size()); }
  const std::vector<Group>& groups() const { return groups_; }
  /// By the rank's groups, in the order of RecordedCall::group.
  const std::vector<Membership>& memberships(std::int64_t rank) const {
    return memberships_[static_cast<std::size_t>(rank)];
  }

  /// The world of a rank. What is called on it, and on the groups that are split from it, goes to `record`. Both
  /// outlive it.
  std::unique_ptr<Communicator> world(std::int64_t rank, CallRecord& record) const;

 private:
  std::vector<Group> groups_;
  std::vector<std::vector<Membership>> memberships_;  // by rank
};

}  // namespace baekji
