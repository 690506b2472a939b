#pragma once
// The Stage of a decoder-only transformer: a run of blocks, with the embedding before the first one and the output head
// after the last one of the model.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/block.h"
#include "model/embedding.h"
#include "model/output_head.h"
#include "model/recompute.h"
#include "model/stage_common.h"
#include "model/stage_partition.h"
#include "parallel/stage.h"

namespace baekji {

class TransformerStage final : public Stage {
 public:
  struct Args {
    const ModelParameters& declared;
    StageRange range;
    Recompute recompute = Recompute::kNone;  ///< needs pending = 0 unless kNone
    std::int64_t slots = 1;                  ///< micro-batches whose activations live at once
    std::int64_t pending = 0;  ///< micro-batches between the halves of their backward pass; 0: backward() only
  };
  /// Binds all activations to `arena` (a measuring arena gives the exact bytes). The referenced objects outlive it.
  TransformerStage(const Args& args, StageCommon& common, Arena& arena);

  Tensor input(std::int64_t slot) const override { return at(slot).stream_NC.front(); }
  Tensor output(std::int64_t slot) const override {
    const Slot& s = at(slot);
    return s.stream_NC[blocks_.size() % s.stream_NC.size()];
  }

  void forward(const MicroBatch& batch, std::int64_t slot) override;
  void backward(const BackwardArgs& args) override;
  void backward_input(const BackwardArgs& args) override;
  void backward_weight(std::int64_t slot, std::int64_t pending) override;
  void absent_forward() override;
  void absent_backward(std::span<const GradientPhase> phases) override;
  void evaluate(const MicroBatch& batch, const Tensor& loss_B) override;

  /// Generation, by the whole model as one stage: forward of one sequence's next T tokens after `cached` cached ones
  /// (one cache per block), then the logits of its last token.
  void decode(const MicroBatch& batch, std::span<KeyValueCache> caches, std::int64_t cached, std::span<float> logits_V);

  const OutputHead& head() const { return *head_; }

 private:
  struct Slot {
    std::vector<Tensor> stream_NC;              // residual stream before each block, and after the last
    std::vector<BlockActivations> activations;  // one per block; a single one when recomputing all or not training
  };
  const Slot& at(std::int64_t slot) const { return slots_[static_cast<std::size_t>(slot)]; }
  Slot& at(std::int64_t slot) { return slots_[static_cast<std::size_t>(slot)]; }
  BlockActivations& activations(Slot& slot, std::size_t block) {
    return slot.activations[slot.activations.size() == 1 ? 0 : block];
  }
  void bind_slot(Slot& slot, Arena& arena);
  void run_blocks(const MicroBatch& batch, Slot& slot, std::span<KeyValueCache> caches, std::int64_t cached);
  void begin_backward(const BackwardArgs& args, std::span<const GradientPhase> phases);
  void head_summed(std::span<const GradientPhase> phases);
  void block_summed(std::size_t block, std::span<const GradientPhase> phases);
  void end_backward(const BackwardArgs& args);
  void recompute_block(const BackwardArgs& args, Slot& slot, std::size_t block);
  void gather_block(std::size_t block);

  StageCommon& common_;
  std::int64_t embedding_unit_;
  std::int64_t first_block_unit_;
  std::int64_t head_unit_;
  Recompute recompute_;
  std::optional<Embedding> embedding_;
  std::vector<Block> blocks_;
  std::optional<OutputHead> head_;
  std::vector<Slot> slots_;
  std::vector<std::vector<BlockGradients>> pending_;  // by pending micro-batch, block
};

}  // namespace baekji
