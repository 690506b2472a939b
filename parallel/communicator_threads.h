#pragma once
// The ranks of a job as threads of one process: parallel code under ThreadSanitizer, without mpirun.

#include <functional>
#include <memory>

#include "parallel/communicator.h"

namespace baekji {

/// Runs `body` as `ranks` ranks, each on a thread of its own with a communicator of all of them, and returns when all
/// have ended. When a rank throws, every collective of the job fails on the others; the error of the rank that failed
/// first is thrown on, with its number in front. `watch` (null: a new one) is shared by all.
void run_as_ranks(int ranks, const std::function<void(Communicator& world)>& body,
                  std::shared_ptr<CommunicatorWatch> watch = nullptr);

}  // namespace baekji
