#include "plan/run_forecast.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/random.h"

namespace baekji {
namespace {

Cluster cluster_with(double failures, double restart_minutes) {
  Cluster c;
  c.place = "test";
  c.device.power_w = 1000;
  c.storage = {.write_gb_s = 100, .read_gb_s = 100};
  c.operations = {.failures_per_device_day = failures, .restart_minutes = restart_minutes, .power_overhead = 1.5};
  c.network.devices_per_node = 8;
  return c;
}

RunQuestion question_on(const Cluster& c) {
  return {.steps = 100000,
          .training_s = 100000 * 5.0,
          .devices = 4096,
          .state_bytes = 864e9,
          .stall_s = 2,
          .checkpoint_every = 200,
          .cluster = c};
}

// One run in which failures come at random: the seconds until all work is done.
double simulated_s(const RunQuestion& q, std::uint64_t seed) {
  const double rate = q.cluster.operations.failures_per_device_day * static_cast<double>(q.devices) / 86400;
  const double interval = static_cast<double>(q.checkpoint_every) * q.training_s / static_cast<double>(q.steps);
  const double write = q.state_bytes / (q.cluster.storage.write_gb_s * 1e9);
  const double load = q.state_bytes / (q.cluster.storage.read_gb_s * 1e9);
  const RandomStream random("baekji test", seed, "failures");
  std::uint64_t drawn = 0;
  const auto next_failure = [&] { return -std::log(1 - random.uniform(drawn++)) / rate; };
  double now = 0, safe = 0, done = 0;  // seconds; work that is saved, work that is done
  double failure = next_failure();
  while (done < q.training_s) {
    // Work until the next save has been written, a write later than it began.
    const double target = std::min(q.training_s, safe + interval);
    const double needed = target - done + write;
    if (now + needed + q.stall_s < failure) {
      now += target - done + q.stall_s;
      done = target;
      safe = target;
      continue;
    }
    now = failure + q.cluster.operations.restart_minutes * 60 + load;
    done = safe;
    failure = now + next_failure();
  }
  return now;
}

TEST(RunForecast, AgreesWithSimulatedFailures) {
  const Cluster c = cluster_with(5e-4, 10);
  const RunQuestion q = question_on(c);
  const RunForecast f = forecast_run(q);
  double sum = 0;
  constexpr int kRuns = 200;
  for (int i = 0; i < kRuns; ++i) sum += simulated_s(q, static_cast<std::uint64_t>(i + 1));
  const double simulated = q.training_s / (sum / kRuns);
  fmt::print("goodput {:.4f}, over {} simulated runs {:.4f}; a failure every {:.1f} hours\n", f.goodput, kRuns,
             simulated, f.mean_time_to_failure_s / 3600);
  EXPECT_NEAR(f.goodput, simulated, 0.02);
  EXPECT_LT(f.goodput, 1);
}

TEST(RunForecast, TheBestIntervalIsTheBest) {
  const Cluster c = cluster_with(5e-4, 10);
  RunQuestion q = question_on(c);
  q.stall_s = 20;
  const RunForecast f = forecast_run(q);
  q.checkpoint_every = f.best_every;
  const double best = forecast_run(q).goodput;
  for (const double factor : {0.25, 0.5, 2.0, 4.0}) {
    q.checkpoint_every =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(factor * static_cast<double>(f.best_every)));
    const double other = forecast_run(q).goodput;
    fmt::print("every {} steps: goodput {:.4f}; every {}: {:.4f}\n", f.best_every, best, q.checkpoint_every, other);
    EXPECT_LT(other, best);
  }
}

TEST(RunForecast, CountsWhatItSays) {
  const Cluster c = cluster_with(0, 0);
  const RunForecast f = forecast_run(question_on(c));
  EXPECT_NEAR(f.training_days, 500000.0 / 86400, 1e-9);
  EXPECT_TRUE(std::isinf(f.mean_time_to_failure_s));
  EXPECT_NEAR(f.energy_mwh, f.device_hours * 1000 * 1.5 * 1e-6, 1e-9);
}

TEST(RunForecast, RefusesRunsThatCannotEnd) {
  const Cluster c = cluster_with(1, 60);
  try {
    forecast_run(question_on(c));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("failures come faster"));
  }
  RunQuestion none = question_on(c);
  none.steps = 0;
  EXPECT_THROW(forecast_run(none), Error);
}

}  // namespace
}  // namespace baekji
