#pragma once
// Whether the recorded calls of a job's ranks fit together: the same calls in every group, and no rank that waits for
// ever.

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "parallel/call_record.h"

namespace baekji {

struct CallCheck {
  const RecordedGroups* groups = nullptr;
  /// By rank; ranks with the same calls may share a record.
  std::span<const CallRecord* const> records;
  /// What messages call a rank.
  std::function<std::string(std::int64_t rank)> rank_name;
};

/// Plays all ranks' calls. Nothing is buffered: a collective waits for all ranks of its group, a receive for its send
/// (and, as on a GPU, for the rank's own sends in that group), and finish_sends for the receives. What goes well so
/// goes well on every back end. Throws, naming ranks and calls, when the ranks of a group call different things, when
/// sender and receiver disagree, when ranks wait for each other for ever, or when something is sent that nobody
/// receives. Returns how many calls were played.
std::int64_t check_calls(const CallCheck& check);

}  // namespace baekji
