#pragma once
// StepRun: whole training steps of one experiment on one rank, without a run folder.

#include <cstdint>
#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "trainer/engine.h"

namespace baekji::bench {

struct StepTimes {
  std::vector<double> seconds;  ///< in the order of the steps
  std::int64_t tokens = 0;      ///< of one step
  double median_s() const;
  double tokens_per_s() const { return static_cast<double>(tokens) / median_s(); }
};

class StepRun {
 public:
  /// Binds memory, fills in step 0, and takes one step that is not timed: page faults, packed copies, plans of
  /// libraries. References outlive it.
  StepRun(const Experiment& experiment, const Loader& loader, Kernels& kernels, ThreadPool& pool);

  /// The next `count` steps by the host's clock, with data, optimizer and the batch root of a ledger record. A step
  /// ends with its loss on the host. What a GPU has left to do then, the last update of weights, counts in the next
  /// step, and the first of these steps waits for that of the one before them.
  StepTimes time(std::int64_t count);

 private:
  const Loader& loader_;
  std::unique_ptr<Communicator> world_;
  RankGroups ranks_;
  Engine engine_;
  std::int64_t done_ = 0;
};

}  // namespace baekji::bench
