#include "model/transformer_stage.h"

#include <array>

namespace baekji {
namespace {

constexpr std::array kInputPhase{GradientPhase::kInput};
constexpr std::array kWeightPhase{GradientPhase::kWeight};

}  // namespace

TransformerStage::TransformerStage(const Args& args, StageCommon& common, Arena& arena)
    : common_(common),
      embedding_unit_(args.declared.embedding_unit),
      first_block_unit_(args.declared.block_unit(args.range.first_layer)),
      head_unit_(args.declared.head_unit),
      recompute_(args.recompute),
      slots_(static_cast<std::size_t>(args.slots)),
      pending_(static_cast<std::size_t>(args.pending)) {
  const LayerContext& context = common.context;
  if (args.range.embedding) embedding_.emplace(context, args.declared.embedding);
  blocks_.reserve(static_cast<std::size_t>(args.range.layers));
  for (std::int64_t i = 0; i < args.range.layers; ++i) {
    blocks_.emplace_back(context, args.declared.blocks[static_cast<std::size_t>(args.range.first_layer + i)],
                         common.rope);
  }
  for (Slot& slot : slots_) bind_slot(slot, arena);
  for (std::vector<BlockGradients>& blocks : pending_) {
    blocks.resize(blocks_.size());
    for (BlockGradients& g : blocks) g.bind(context, arena, "gradients between passes");
  }
  if (args.range.head) head_.emplace(context, args.declared, common.loss_chunk).bind(arena, common.training);
}

void TransformerStage::bind_slot(Slot& slot, Arena& arena) {
  const LayerContext& c = common_.context;
  const std::size_t streams = common_.training ? blocks_.size() + 1 : 2;
  for (std::size_t i = 0; i < streams; ++i) {
    slot.stream_NC.push_back(arena.allocate("residual stream", c.types.residual, {c.local_tokens(), c.model.hidden}));
  }
  const bool each_block = common_.training && recompute_ != Recompute::kFull;
  slot.activations.resize(each_block ? blocks_.size() : 1);
  // What is computed again has one working set for all blocks and slots.
  BlockActivations* const first = &slots_.front().activations.front();
  for (BlockActivations& a : slot.activations) {
    if (!each_block && &a != first)
      a = *first;
    else
      a.bind(c, arena, recompute_ == Recompute::kSelective && &a != first ? first : nullptr);
  }
}

void TransformerStage::gather_block(std::size_t block) {
  common_.context.parameters.gather(first_block_unit_ + static_cast<std::int64_t>(block));
}

void TransformerStage::run_blocks(const MicroBatch& batch, Slot& slot, std::span<KeyValueCache> caches,
                                  std::int64_t cached) {
  const std::size_t streams = slot.stream_NC.size();
  if (embedding_) {
    common_.context.parameters.gather(embedding_unit_);
    embedding_->forward(batch, slot.stream_NC[0], common_.workspace);
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    gather_block(i);
    blocks_[i].forward({.batch = batch,
                        .x_NC = slot.stream_NC[i % streams],
                        .y_NC = slot.stream_NC[(i + 1) % streams],
                        .cache = caches.empty() ? nullptr : &caches[i],
                        .cached = cached},
                       activations(slot, i), common_.workspace);
  }
}

void TransformerStage::forward(const MicroBatch& batch, std::int64_t slot) {
  run_blocks(batch, at(slot), {}, 0);
}

void TransformerStage::head_summed(std::span<const GradientPhase> phases) {
  if (head_unit_ == embedding_unit_) return;  // a tied table gets more
  for (const GradientPhase phase : phases) common_.context.parameters.unit_summed(head_unit_, phase);
}

void TransformerStage::block_summed(std::size_t block, std::span<const GradientPhase> phases) {
  for (const GradientPhase phase : phases)
    common_.context.parameters.unit_summed(first_block_unit_ + static_cast<std::int64_t>(block), phase);
}

void TransformerStage::begin_backward(const BackwardArgs& args, std::span<const GradientPhase> phases) {
  if (!head_) return;
  common_.context.parameters.gather(head_unit_);
  head_->loss_and_gradient(args.batch, at(args.slot).stream_NC.back(), args.gradient_NC, common_.workspace,
                           args.loss_B);
  head_summed(phases);
}

void TransformerStage::end_backward(const BackwardArgs& args) {
  if (embedding_) embedding_->backward(args.batch, args.gradient_NC, common_.workspace);
}

void TransformerStage::recompute_block(const BackwardArgs& args, Slot& slot, std::size_t block) {
  BlockActivations& a = activations(slot, block);
  const Attention::ForwardArgs forward{
      .batch = args.batch, .x_NC = slot.stream_NC[block], .y_NC = slot.stream_NC[block + 1]};
  if (recompute_ == Recompute::kFull) blocks_[block].forward(forward, a, common_.workspace);
  if (recompute_ == Recompute::kSelective) blocks_[block].recompute(forward, a);
}

void TransformerStage::backward(const BackwardArgs& args) {
  Slot& slot = at(args.slot);
  begin_backward(args, kGradientPhases);
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    gather_block(i);
    recompute_block(args, slot, i);
    blocks_[i].backward({.batch = args.batch, .x_NC = slot.stream_NC[i], .dx_NC = args.gradient_NC},
                        activations(slot, i), common_.gradients, common_.workspace);
    block_summed(i, kGradientPhases);
  }
  end_backward(args);
}

void TransformerStage::backward_input(const BackwardArgs& args) {
  Slot& slot = at(args.slot);
  begin_backward(args, kInputPhase);
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    gather_block(i);
    blocks_[i].backward_input({.batch = args.batch, .x_NC = slot.stream_NC[i], .dx_NC = args.gradient_NC},
                              activations(slot, i), pending_.at(static_cast<std::size_t>(args.pending))[i],
                              common_.workspace);
    block_summed(i, kInputPhase);
  }
  end_backward(args);
}

void TransformerStage::backward_weight(std::int64_t slot, std::int64_t pending) {
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    blocks_[i].backward_weight(activations(at(slot), i), pending_.at(static_cast<std::size_t>(pending))[i],
                               common_.workspace);
    block_summed(i, kWeightPhase);
  }
}

void TransformerStage::absent_forward() {
  if (embedding_) common_.context.parameters.gather(embedding_unit_);
  for (std::size_t i = 0; i < blocks_.size(); ++i) gather_block(i);
}

void TransformerStage::absent_backward(std::span<const GradientPhase> phases) {
  const bool uses_weights = phases.front() == GradientPhase::kInput;
  if (head_ && uses_weights) {
    common_.context.parameters.gather(head_unit_);
    head_summed(phases);
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    if (uses_weights) gather_block(i);
    block_summed(i, phases);
  }
}

void TransformerStage::evaluate(const MicroBatch& batch, const Tensor& loss_B) {
  Slot& slot = slots_.front();
  run_blocks(batch, slot, {}, 0);
  if (!head_) return;
  common_.context.parameters.gather(head_unit_);
  head_->evaluate(batch, output(0), loss_B);
}

void TransformerStage::decode(const MicroBatch& batch, std::span<KeyValueCache> caches, std::int64_t cached,
                              std::span<float> logits_V) {
  run_blocks(batch, slots_.front(), caches, cached);
  head_->logits(output(0), common_.context.tokens() - 1, logits_V);
}

}  // namespace baekji
