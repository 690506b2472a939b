#pragma once
// Side by side: two live executions of one experiment, compared step by step, down to the first operation that differs.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/replay.h"

namespace baekji {

struct SideBySideArgs {
  const Experiment& first;   ///< on one rank: the reference
  const Experiment& second;  ///< under any layout, on the ranks of `world`
  const RunInputs& inputs;
  const Ledger& ledger;
  Anchor anchor;
  std::int64_t last = 0;
  KernelsMaker first_kernels;
  KernelsMaker second_kernels;
  MachineShare machine;
};

struct SideBySideDifference {
  std::int64_t step = 0;
  std::vector<std::string> members;  ///< of the step's record
  std::string operation;             ///< the first one that differs: "layers.1.feed_forward.down: matmul, forward"
  std::int64_t rows = 0;             ///< that it wrote differently
  std::int64_t element = -1;  ///< of the first such row, the first that differs; -1 when no values could be paired
  double first = 0;           ///< its values
  double second = 0;
};

/// Trains both from the anchor to step `last`; stops at the first step whose records differ, goes back, and traces it.
/// Nothing when all records agree. Collective over `world`, one rank for each place of `second`'s mesh; rank 0 also
/// runs the first execution, and gets the whole answer (others only the step).
std::optional<SideBySideDifference> compare_side_by_side(const SideBySideArgs& args, Communicator& world);

}  // namespace baekji
