// Any bytes as the text of a schedule: an Error, or a schedule whose text gives it back; if it can run, its timeline
// can be drawn.

#include <cstdint>
#include <cstdlib>

#include "core/error.h"
#include "parallel/schedule_checks.h"
#include "parallel/schedule_text.h"
#include "parallel/timeline.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  baekji::Schedule schedule;
  try {
    schedule = baekji::parse_schedule(text, "input");
  } catch (const baekji::Error&) {
    return 0;  // the expected answer to most inputs
  }
  if (baekji::parse_schedule(baekji::to_text(schedule), "again") != schedule) std::abort();
  try {
    baekji::validate(schedule);
  } catch (const baekji::Error&) {
    return 0;
  }
  const baekji::Simulation simulation = baekji::simulate(schedule, baekji::unit_costs(schedule.stages()));
  if (baekji::timeline_svg(schedule, simulation, {.title = "fuzz"}).empty()) std::abort();
  return 0;
}
