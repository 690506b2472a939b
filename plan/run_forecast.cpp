#include "plan/run_forecast.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace baekji {
namespace {

constexpr double kDay_s = 86400;

// Seconds of work between two saves that cost `stall_s`.
double daly_interval_s(double stall_s, double failure_s) {
  if (!std::isfinite(failure_s)) return failure_s;
  if (stall_s >= 2 * failure_s) return failure_s;
  const double x = std::sqrt(stall_s / (2 * failure_s));
  return std::sqrt(2 * stall_s * failure_s) * (1 + x / 3 + x * x / 9) - stall_s;
}

}  // namespace

RunForecast forecast_run(const RunQuestion& q) {
  const Cluster& c = q.cluster;
  if (q.steps < 1 || !(q.training_s > 0)) {
    throw Error("a run has steps that take time")
        .values("1 or more", fmt::format("{} steps in {:g} s", q.steps, q.training_s))
        .at("[run] steps");
  }
  RunForecast f;
  const double step_s = q.training_s / static_cast<double>(q.steps);
  f.training_days = q.training_s / kDay_s;
  f.write_s = q.state_bytes / (c.storage.write_gb_s * 1e9);
  const double load_s = q.state_bytes / (c.storage.read_gb_s * 1e9);
  const double rate = c.operations.failures_per_device_day * static_cast<double>(q.devices) / kDay_s;
  f.mean_time_to_failure_s = rate > 0 ? 1 / rate : std::numeric_limits<double>::infinity();
  f.best_interval_s =
      std::min(q.training_s, std::max({daly_interval_s(q.stall_s, f.mean_time_to_failure_s), f.write_s, step_s}));
  f.best_every = std::max<std::int64_t>(1, std::llround(f.best_interval_s / step_s));
  f.interval_s = q.checkpoint_every > 0 ? static_cast<double>(q.checkpoint_every) * step_s : q.training_s;
  f.interval_s = std::max(f.interval_s, f.write_s);

  // A second of training brings its share of saves; a second of the job its share of failures.
  const double saves = 1 + q.stall_s / f.interval_s;
  // A save holds what was trained when it began: work since then, and while it was written, is lost.
  const double lost_s = f.interval_s / 2 + f.write_s + c.operations.restart_minutes * 60 + load_s;
  const double failing = rate * lost_s;
  if (failing >= 1) {
    throw Error("failures come faster than the job gets on")
        .values(fmt::format("less than {:.0f} s lost for each", f.mean_time_to_failure_s),
                fmt::format("{:.0f} s", lost_s))
        .at(c.place)
        .hint("save more often (run.checkpoint_every), or to faster storage");
  }
  f.goodput = (1 - failing) / saves;
  f.days = f.training_days / f.goodput + c.operations.start_minutes / (24 * 60);
  f.device_hours = f.days * 24 * static_cast<double>(q.devices);
  f.energy_mwh = f.device_hours * c.device.power_w * c.operations.power_overhead * 1e-6;
  return f;
}

}  // namespace baekji
