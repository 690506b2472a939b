#pragma once
// A simulated step as trace events, which Perfetto (ui.perfetto.dev) and Chrome show.

#include <string>

#include "parallel/schedule_checks.h"

namespace baekji {

/// JSON of the Trace Event Format: for each pipeline rank a track of its passes ("F3.1") and one of its transfers, from
/// a send's beginning to its receive's end. `us_per_unit` turns the simulation's times into microseconds. The same
/// values give the same bytes.
std::string perfetto_trace(const Schedule& schedule, const Simulation& simulation, double us_per_unit);

}  // namespace baekji
