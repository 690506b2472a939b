#include "model/transformer_stage.h"

namespace baekji {

TransformerStage::TransformerStage(const Args& args, Arena& arena)
    : context_{args.kernels, args.parameters, args.grains, args.model, args.types, args.shape},
      recompute_(args.recompute),
      training_(args.training),
      embedding_(context_, args.declared.embedding),
      head_(context_, args.declared, args.loss_chunk),
      slots_(static_cast<std::size_t>(args.slots)) {
  const std::int64_t positions = args.positions == 0 ? args.shape.context : args.positions;
  rope_.bind(arena, args.types.accumulator, positions, args.model.head_width(), args.rope_theta);
  blocks_.reserve(args.declared.blocks.size());
  for (const BlockGroups& groups : args.declared.blocks) blocks_.emplace_back(context_, groups, rope_);
  for (Slot& slot : slots_) bind_slot(slot, arena);
  workspace_.bind(context_, arena, training_);
  args.grains.bind(
      {.types = args.types, .tokens = args.shape.tokens(), .columns = args.model.hidden, .chunk = args.loss_chunk},
      arena);
  head_.bind(arena, training_);
  if (training_)
    gradient_NC_ = arena.allocate("workspace", args.types.residual, {context_.local_tokens(), args.model.hidden});
}

void TransformerStage::bind_slot(Slot& slot, Arena& arena) {
  const bool keep_all = training_ && recompute_ == Recompute::kNone;
  const std::size_t streams = training_ ? blocks_.size() + 1 : 2;
  for (std::size_t i = 0; i < streams; ++i) {
    slot.stream_NC.push_back(
        arena.allocate("residual stream", context_.types.residual, {context_.local_tokens(), context_.model.hidden}));
  }
  slot.activations.resize(keep_all ? blocks_.size() : 1);
  if (!keep_all && &slot != slots_.data()) {
    slot.activations = slots_.front().activations;  // one working set serves all slots
    return;
  }
  for (BlockActivations& a : slot.activations) a.bind(context_, arena, "activations");
}

void TransformerStage::run_blocks(const MicroBatch& batch, Slot& slot, std::span<KeyValueCache> caches,
                                  std::int64_t cached) {
  const std::size_t streams = slot.stream_NC.size();
  embedding_.forward(batch, slot.stream_NC[0], workspace_);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    blocks_[i].forward({.batch = batch,
                        .x_NC = slot.stream_NC[i % streams],
                        .y_NC = slot.stream_NC[(i + 1) % streams],
                        .cache = caches.empty() ? nullptr : &caches[i],
                        .cached = cached},
                       activations(slot, i), workspace_);
  }
}

void TransformerStage::forward(const MicroBatch& batch, std::int64_t slot) {
  run_blocks(batch, slots_[static_cast<std::size_t>(slot)], {}, 0);
}

void TransformerStage::backward(const MicroBatch& batch, std::int64_t slot_index, std::span<double> sequence_loss) {
  Slot& slot = slots_[static_cast<std::size_t>(slot_index)];
  head_.loss_and_gradient(batch, slot.stream_NC.back(), gradient_NC_, workspace_, sequence_loss);
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    BlockActivations& a = activations(slot, i);
    if (recompute_ == Recompute::kFull) {
      blocks_[i].forward({.batch = batch, .x_NC = slot.stream_NC[i], .y_NC = slot.stream_NC[i + 1]}, a, workspace_);
    }
    blocks_[i].backward({.batch = batch, .x_NC = slot.stream_NC[i], .dx_NC = gradient_NC_}, a, workspace_);
  }
  embedding_.backward(batch, gradient_NC_, workspace_);
}

void TransformerStage::evaluate(const MicroBatch& batch, std::span<double> sequence_loss) {
  Slot& slot = slots_.front();
  run_blocks(batch, slot, {}, 0);
  head_.evaluate(batch, slot.stream_NC[blocks_.size() % slot.stream_NC.size()], sequence_loss);
}

void TransformerStage::decode(const MicroBatch& batch, std::span<KeyValueCache> caches, std::int64_t cached,
                              std::span<float> logits_V) {
  Slot& slot = slots_.front();
  run_blocks(batch, slot, caches, cached);
  head_.logits(slot.stream_NC[blocks_.size() % slot.stream_NC.size()], context_.tokens() - 1, logits_V);
}

}  // namespace baekji
