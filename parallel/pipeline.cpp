#include "parallel/pipeline.h"

#include "core/error.h"

namespace baekji {

void run_pipeline(const PipelineArgs& args) {
  for (const Action& action : args.actions) {
    const std::int64_t slot = action.micro_batch % args.slots;
    const MicroBatch batch = args.load(action.micro_batch);
    switch (action.kind) {
      case ActionKind::kForward:
        args.stage->forward(batch, slot);
        break;
      case ActionKind::kBackward: {
        const std::int64_t in_replica = action.micro_batch % args.micro_batches_per_replica;
        if (in_replica == 0) args.parameters->begin_replica();
        const auto sequences = static_cast<std::size_t>(batch.token_BT.dim(0));
        args.stage->backward(batch, slot,
                             args.losses.subspan(static_cast<std::size_t>(action.micro_batch) * sequences, sequences));
        if (in_replica == args.micro_batches_per_replica - 1) args.parameters->end_replica();
        break;
      }
      default:
        throw Error("a lone stage has nothing to exchange").at(action.describe());
    }
  }
}

}  // namespace baekji
