#pragma once
// What every communicator says when ranks do not agree or do not come. `place` is the rank's place in its group.

#include <string>

#include "parallel/communicator.h"

namespace baekji {

/// Another rank of the group makes another call than this one. `mine` and `other` name the ranks.
inline Error different_calls(const std::string& mine, const CollectiveCall& call, const std::string& other,
                             const CollectiveCall& theirs, const std::string& place) {
  return Error("ranks of a group make different calls")
      .values(fmt::format("{}: {}", mine, call.describe()), fmt::format("{}: {}", other, theirs.describe()))
      .at(place)
      .hint("every rank of a group must make the same calls in the same order");
}

/// What came is not what this rank was to receive.
inline Error different_message(const std::string& mine, const CollectiveCall& call, const std::string& from,
                               const CollectiveCall& sent, const std::string& place) {
  return Error("sender and receiver disagree")
      .values(fmt::format("{}: {}", mine, call.describe()), fmt::format("{}: {}", from, sent.describe()))
      .at(place);
}

/// A call that lasts longer than the watch allows; `who` says whom it waits for.
inline Error stuck_collective(const CollectiveCall& call, const CommunicatorWatch& watch, const std::string& who,
                              const std::string& place) {
  return Error("a collective is stuck")
      .values(fmt::format("{} within {} s", call.describe(), watch.limit_s), who)
      .at(place)
      .hint(
          "the ranks named may have ended, be stopped, or wait in another collective; [run] collective_limit_s is how "
          "long to wait");
}

}  // namespace baekji
