#pragma once
// The timeline of a schedule as one SVG file: a row for each pipeline rank, a box for each pass.

#include <string>

#include "parallel/schedule.h"
#include "parallel/schedule_checks.h"

namespace baekji {

struct TimelineOptions {
  std::string title;      ///< the schedule's name, UTF-8
  std::string time_unit;  ///< of the simulation's costs, "ms" for example; empty for bare numbers
  /// Of the whole picture, in pixels. 0 chooses it: as wide as the numbers in the boxes need, within limits.
  /// A picture is never narrower than its texts need.
  double width = 0;
};

/// The picture. `simulation` is simulate(schedule, ...). Numbers in the boxes are micro-batches, shades are virtual
/// stages; at the right stands Simulation::peak_live. Numbers and transfers are left out where they could not be read.
/// The same values give the same bytes. Its size grows with the number of passes. Throws when simulation and schedule
/// do not belong together or a number is not finite.
std::string timeline_svg(const Schedule& schedule, const Simulation& simulation, const TimelineOptions& options);

}  // namespace baekji
