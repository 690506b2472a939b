#include "model/stage_common.h"

namespace baekji {
namespace {

// Inference multiplies in bf16: an 8-bit copy's scale, and so a token's logits, would depend on which other tokens come
// in the same call.
LayerContext context_of(const StageCommon::Args& args) {
  LayerContext context = args.context;
  if (!args.training) context.types.float8_linear = false;
  return context;
}

}  // namespace

StageCommon::StageCommon(const Args& args, Arena& arena)
    : context(context_of(args)), loss_chunk(args.loss_chunk), training(args.training) {
  const ModelConfig& m = context.model;
  const std::int64_t positions = args.positions == 0 ? context.shape.context : args.positions;
  rope.bind({.type = context.types.accumulator,
             .positions = positions,
             .head_width = m.head_width(),
             .theta = args.rope_theta},
            context.kernels, arena);
  workspace.bind(context, arena, training);
  context.grains.bind(
      {.types = context.types, .tokens = context.tokens(), .columns = m.hidden, .chunk = args.loss_chunk}, arena);
  if (!training || !args.whole_backward) return;
  // A branch is done with its gradients before the next one begins.
  gradients.attention.dy_NC = gradients.feed_forward.dy_NC = workspace.full_NC;
  gradients.bind_inner(context, arena, "workspace");
}

}  // namespace baekji
