#pragma once
// What a step leaves in the ledger, and where training stands after it: the same for training and for replay.

#include <cstdint>

#include "data/batch_order.h"
#include "proof/ledger_records.h"
#include "trainer/engine.h"

namespace baekji {

/// Where training stands: after `step` steps.
struct RunPosition {
  std::int64_t step = 0;
  std::int64_t updates = 0;
  std::int64_t position = 0;  ///< sequences
  std::int64_t tokens = 0;
};

/// The record of the step after `before`, which trained on `batch`, without a state root.
StepRecord step_record(const RunPosition& before, std::int64_t batch, const BatchOrder& order,
                       const StepResult& result);

RunPosition position_after(const StepRecord& record);

}  // namespace baekji
