#pragma once
// Stage: a run of layers that one pipeline rank executes. The trainer and every schedule see a model only through this.

#include <cstdint>
#include <span>

#include "core/arena.h"
#include "core/tensor.h"
#include "parallel/parameter_slice.h"

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

  /// Own tokens of the residual stream of a slot: where forward() finds its input (unless this is the first stage,
  /// which embeds tokens) and leaves its output.
  virtual Tensor input(std::int64_t slot) const = 0;
  virtual Tensor output(std::int64_t slot) const = 0;

  /// Runs forward and keeps in `slot` what the backward pass needs.
  virtual void forward(const MicroBatch& batch, std::int64_t slot) = 0;

  struct BackwardArgs {
    MicroBatch batch;
    std::int64_t slot = 0;
    std::int64_t pending = 0;  ///< where backward_input() leaves what backward_weight() needs
    /// Own tokens, residual type: the gradient of the output (the last stage computes it), overwritten with that of the
    /// input.
    Tensor gradient_NC;
    /// Last stage: fp64, overwritten with the loss of each sequence (sum over its tokens in position order).
    Tensor loss_B;
  };
  /// Runs backward from `slot`, *accumulating* parameter gradients of the un-normalised sum of token losses.
  virtual void backward(const BackwardArgs& args) = 0;
  /// The same in two halves, for schedules that compute weight gradients later. The first one also accumulates the
  /// gradients of the parameters that are summed with the input's (ParameterGroup::phase).
  virtual void backward_input(const BackwardArgs& args) = 0;
  virtual void backward_weight(std::int64_t slot, std::int64_t pending) = 0;

  /// Takes part in what the stage's ranks do together in a pass, without a micro-batch: other data ranks have one.
  virtual void absent_forward() = 0;
  virtual void absent_backward(std::span<const GradientPhase> phases) = 0;

  /// Forward only, for validation, in slot 0; the last stage gives the loss of each sequence. Leaves every other slot
  /// and all gradients alone.
  virtual void evaluate(const MicroBatch& batch, const Tensor& loss_B) = 0;
};

}  // namespace baekji
