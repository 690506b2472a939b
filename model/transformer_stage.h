#pragma once
// The Stage of a decoder-only transformer: embedding, blocks, output head.

#include <memory>
#include <string>
#include <vector>

#include "model/block.h"
#include "model/embedding.h"
#include "model/output_head.h"
#include "parallel/stage.h"

namespace baekji {

/// Which activations are kept for the backward pass. kFull keeps each block's input and computes the rest again.
enum class Recompute : std::uint8_t { kNone, kFull };

class TransformerStage final : public Stage {
 public:
  struct Args {
    Kernels& kernels;
    ParameterStore& parameters;
    GrainTree& grains;
    const ModelConfig& model;
    const ModelParameters& declared;
    ElementTypes types;
    BatchShape shape;
    std::int64_t loss_chunk = 512;
    double rope_theta = 10000.0;
    std::int64_t positions = 0;  ///< rows of the rotary tables; 0 means the context
    Recompute recompute = Recompute::kNone;
    std::int64_t slots = 1;  ///< micro-batches whose activations live at once
    bool training = true;    ///< false: forward only, no gradient memory
  };
  /// Binds all activations to `arena` (a measuring arena gives the exact bytes). The referenced objects outlive it.
  TransformerStage(const Args& args, Arena& arena);

  void forward(const MicroBatch& batch, std::int64_t slot) override;
  void backward(const MicroBatch& batch, std::int64_t slot, std::span<double> sequence_loss) override;
  void evaluate(const MicroBatch& batch, std::span<double> sequence_loss) override;

  /// Generation: forward of one sequence's next T tokens after `cached` cached ones (one cache per block), then the
  /// logits of its last token.
  void decode(const MicroBatch& batch, std::span<KeyValueCache> caches, std::int64_t cached, std::span<float> logits_V);

  const OutputHead& head() const { return head_; }

 private:
  struct Slot {
    std::vector<Tensor> stream_NC;              // residual stream before each block, and after the last
    std::vector<BlockActivations> activations;  // one per block; a single one when recomputing or not training
  };
  BlockActivations& activations(Slot& slot, std::size_t block) {
    return slot.activations[slot.activations.size() == 1 ? 0 : block];
  }
  void bind_slot(Slot& slot, Arena& arena);
  void run_blocks(const MicroBatch& batch, Slot& slot, std::span<KeyValueCache> caches, std::int64_t cached);

  LayerContext context_;
  Recompute recompute_;
  bool training_;
  RopeTable rope_;
  Workspace workspace_;
  Embedding embedding_;
  std::vector<Block> blocks_;
  OutputHead head_;
  std::vector<Slot> slots_;
  Tensor gradient_NC_;  // of the residual stream, own tokens
};

}  // namespace baekji
