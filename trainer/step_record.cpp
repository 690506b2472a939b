#include "trainer/step_record.h"

namespace baekji {

StepRecord step_record(const RunPosition& before, std::int64_t batch, const BatchOrder& order,
                       const StepResult& result) {
  return {.step = before.step + 1,
          .batch_root = result.batch_root,
          .loss = result.loss,
          .gradient_norm = result.outcome.gradient_norm,
          .learning_rate = result.learning_rate,
          .move = result.outcome.move,
          .position = order.data_position(batch),
          .tokens = before.tokens + result.tokens,
          .updates = before.updates + (result.outcome.is_void ? 0 : 1),
          .void_tensor = result.outcome.void_parameter};
}

RunPosition position_after(const StepRecord& record) {
  return {.step = record.step, .updates = record.updates, .position = record.position, .tokens = record.tokens};
}

}  // namespace baekji
