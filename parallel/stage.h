#pragma once
// Stage: a run of layers that one pipeline rank executes. The trainer and every schedule see a model only through this.

#include <cstdint>
#include <span>

#include "core/arena.h"
#include "core/tensor.h"

namespace baekji {

/// One micro-batch: B sequences of T positions, all int32.
struct MicroBatch {
  Tensor token_BT;
  Tensor target_BT;    ///< the next token of each position
  Tensor position_BT;  ///< position inside the document (or the sequence, without a document mask)
  Tensor first_BT;     ///< first visible position inside the sequence
};

class Stage {
 public:
  virtual ~Stage() = default;

  /// Runs forward and keeps in `slot` what the backward pass needs.
  virtual void forward(const MicroBatch& batch, std::int64_t slot) = 0;
  /// Runs backward from `slot`, *accumulating* parameter gradients of the un-normalised sum of token losses, and writes
  /// the loss of each sequence (fp64, sum over its tokens in position order).
  virtual void backward(const MicroBatch& batch, std::int64_t slot, std::span<double> sequence_loss) = 0;
  /// Forward only, for validation: the loss of each sequence. Leaves every slot and gradient alone, but for slot 0.
  virtual void evaluate(const MicroBatch& batch, std::span<double> sequence_loss) = 0;
};

}  // namespace baekji
