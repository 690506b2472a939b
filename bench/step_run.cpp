#include "bench/step_run.h"

#include <algorithm>
#include <chrono>

#include "proof/genesis.h"
#include "trainer/run_log.h"

namespace baekji::bench {

double StepTimes::median_s() const {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  return sorted.at(sorted.size() / 2);
}

StepRun::StepRun(const Experiment& experiment, const Loader& loader, Kernels& kernels, ThreadPool& pool)
    : loader_(loader),
      world_(make_self_communicator()),
      ranks_({}, *world_),
      engine_(experiment, loader, kernels, ranks_) {
  fill_genesis(engine_.shards(), static_cast<std::uint64_t>(experiment.identity.seed), pool);
  engine_.state_changed();
  time(1);
}

StepTimes StepRun::time(std::int64_t count) {
  StepTimes times;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto start = std::chrono::steady_clock::now();
    done_ += 1;
    times.tokens = engine_.step(done_, done_).tokens;
    times.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return times;
}

}  // namespace baekji::bench
