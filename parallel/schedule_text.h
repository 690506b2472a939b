#pragma once
// Schedules as text, to be read, compared and written by hand. docs/formats/schedule.md describes the format.

#include <cstdint>
#include <string>
#include <string_view>

#include "parallel/schedule.h"

namespace baekji {

/// The most that a text may declare. What works on a schedule allocates by its number of stages, so these bound what
/// a short text can cost.
inline constexpr std::int64_t kMostScheduleStages = std::int64_t{1} << 20;  ///< of all ranks; so also the most ranks
inline constexpr std::int64_t kMostVirtualStages = std::int64_t{1} << 10;
inline constexpr std::int64_t kMostMicroBatches = std::int64_t{1} << 20;

/// A header line, then one line for each rank, in order, its actions as Action::describe() writes them.
std::string to_text(const Schedule& schedule);

/// The inverse: parse_schedule(to_text(s), ...) == s for every s within the limits above whose actions name
/// micro-batches and virtual stages that it has. Throws Error, with `place`, line and column, on anything else. Says
/// nothing about whether the schedule can run: that is validate()'s matter. Any bytes may come; memory stays below a
/// small multiple of the text's size, whatever its header says.
Schedule parse_schedule(std::string_view text, const std::string& place);

}  // namespace baekji
