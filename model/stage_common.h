#pragma once
// What the stages of one rank have in common: their context, the rotary tables, and buffers that they use one after
// another.

#include "model/block.h"
#include "model/layer_context.h"
#include "model/rope_table.h"

namespace baekji {

class StageCommon {
 public:
  struct Args {
    LayerContext context;
    double rope_theta = 10000.0;
    std::int64_t positions = 0;     ///< rows of the rotary tables; 0 means the context
    std::int64_t loss_chunk = 512;  ///< tokens of the cross-entropy at a time
    bool training = true;           ///< false: forward only, no gradient memory
    bool whole_backward = true;     ///< some pass backward is not in halves, which need no common memory
  };
  /// Binds tables, workspace and the exchange of the tensor axis to `arena`. The referenced objects outlive it.
  StageCommon(const Args& args, Arena& arena);
  StageCommon(const StageCommon&) = delete;
  StageCommon& operator=(const StageCommon&) = delete;

  const LayerContext context;
  const std::int64_t loss_chunk;
  const bool training;
  RopeTable rope;
  Workspace workspace;
  BlockGradients gradients;  ///< of the block that is going backward, when not split
};

}  // namespace baekji
