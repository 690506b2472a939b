#include "parallel/pipeline.h"

#include <algorithm>

namespace baekji {
namespace {

// Ranks of an edge's group.
constexpr int kEarlier = 0;
constexpr int kLater = 1;

// The gradients that a pass sums.
std::span<const GradientPhase> summed_by(ActionKind kind) {
  const std::span<const GradientPhase> phases(kGradientPhases);
  if (kind == ActionKind::kBackward) return phases;
  if (kind == ActionKind::kBackwardInput) return phases.first(1);
  if (kind == ActionKind::kBackwardWeight) return phases.last(1);
  return {};
}

// When a rank fails, what it was sending must not be read while its memory goes.
class SendsGuard {
 public:
  explicit SendsGuard(const PipelineLinks& links) : links_(links) {}
  ~SendsGuard() {
    if (done_) return;
    if (links_.forward_out != nullptr) links_.forward_out->abandon_sends();
    if (links_.backward_out != nullptr) links_.backward_out->abandon_sends();
  }
  SendsGuard(const SendsGuard&) = delete;
  SendsGuard& operator=(const SendsGuard&) = delete;

  void finish() {
    if (links_.forward_out != nullptr) links_.forward_out->finish_sends();
    if (links_.backward_out != nullptr) links_.backward_out->finish_sends();
    done_ = true;
  }

 private:
  const PipelineLinks& links_;
  bool done_ = false;
};

class PipelineRun {
 public:
  explicit PipelineRun(const PipelineArgs& args) : args_(args) {
    for (const Action& action : args.actions) last_micro_batch_ = std::max(last_micro_batch_, action.micro_batch);
  }

  void act(const Action& action) {
    if (action.micro_batch >= args_.micro_batches) {
      pass_over(action);
      return;
    }
    const PipelineStage& at = args_.stages[static_cast<std::size_t>(action.virtual_stage)];
    const std::int64_t slot = action.micro_batch % at.slots;
    switch (action.kind) {
      case ActionKind::kForward:
        at.stage->forward(args_.load(action.virtual_stage, action.micro_batch), slot);
        break;
      case ActionKind::kBackward:
        begin(action);
        at.stage->backward(backward_args(action, at));
        end(action);
        break;
      case ActionKind::kBackwardInput:
        begin(action);
        at.stage->backward_input(backward_args(action, at));
        end(action);
        break;
      case ActionKind::kBackwardWeight:
        begin(action);
        at.stage->backward_weight(slot, action.micro_batch % at.pending);
        end(action);
        break;
      case ActionKind::kSendForward:
        args_.links.forward_out->start_send(at.stage->output(slot), kLater);
        break;
      case ActionKind::kReceiveForward:
        args_.links.forward_in->receive(at.stage->input(slot), kEarlier);
        break;
      case ActionKind::kSendBackward:
        args_.links.backward_out->start_send(gradient(), kEarlier);
        ++gradients_sent_;
        break;
      case ActionKind::kReceiveBackward:
        args_.links.backward_in->receive(free_gradient(), kLater);
        break;
    }
  }

 private:
  // A micro-batch that only other data ranks have. The ranks of this pipeline have as many, so nothing is exchanged.
  void pass_over(const Action& action) const {
    Stage& stage = *args_.stages[static_cast<std::size_t>(action.virtual_stage)].stage;
    if (action.kind == ActionKind::kForward) stage.absent_forward();
    if (summed_by(action.kind).empty()) return;
    expect_end(action);
    stage.absent_backward(summed_by(action.kind));
    end(action);
  }

  // Buffers are used in turn; a send has left the next one when at most the others' sends are under way.
  const Tensor& gradient() const { return args_.gradients_NC[gradients_sent_ % args_.gradients_NC.size()]; }
  const Tensor& free_gradient() const {
    if (args_.links.backward_out != nullptr) args_.links.backward_out->finish_sends(args_.gradients_NC.size() - 1);
    return gradient();
  }

  Stage::BackwardArgs backward_args(const Action& action, const PipelineStage& at) const {
    const MicroBatch batch = args_.load(action.virtual_stage, action.micro_batch);
    const std::int64_t sequences = batch.token_BT.dim(0);
    return {.batch = batch,
            .slot = action.micro_batch % at.slots,
            .pending = at.pending == 0 ? 0 : action.micro_batch % at.pending,
            .gradient_NC = free_gradient(),
            .loss_B = args_.losses.rows(action.micro_batch * sequences, sequences)};
  }

  void begin(const Action& action) const {
    if (action.micro_batch % args_.micro_batches_per_replica == 0) {
      for (const GradientPhase phase : summed_by(action.kind))
        args_.parameters->begin_replica(action.virtual_stage, phase);
    }
    expect_end(action);
  }
  void expect_end(const Action& action) const {
    if (!ends_replica(action)) return;
    for (const GradientPhase phase : summed_by(action.kind)) args_.parameters->expect_end(end_of(action, phase));
  }
  void end(const Action& action) const {
    if (!ends_replica(action)) return;
    for (const GradientPhase phase : summed_by(action.kind)) args_.parameters->end_replica(end_of(action, phase));
  }
  bool ends_replica(const Action& action) const {
    return action.micro_batch % args_.micro_batches_per_replica == args_.micro_batches_per_replica - 1;
  }
  ReplicaEnd end_of(const Action& action, GradientPhase phase) const {
    return {.stage = action.virtual_stage,
            .phase = phase,
            .absent = action.micro_batch >= args_.micro_batches,
            .last = action.micro_batch == last_micro_batch_};
  }

  const PipelineArgs& args_;
  std::int64_t last_micro_batch_ = 0;  // of the schedule: of the data ranks with the most replicas
  std::size_t gradients_sent_ = 0;
};

}  // namespace

void run_pipeline(const PipelineArgs& args) {
  SendsGuard guard(args.links);
  PipelineRun run(args);
  for (const Action& action : args.actions) run.act(action);
  guard.finish();
}

void evaluate_pipeline(const EvaluateArgs& args, std::int64_t rank, std::int64_t ranks) {
  SendsGuard guard(args.links);
  const std::int64_t last = ranks * std::ssize(args.stages) - 1;
  for (std::int64_t v = 0; v < std::ssize(args.stages); ++v) {
    const std::int64_t stage = stage_index(ranks, rank, v);
    Stage& here = *args.stages[static_cast<std::size_t>(v)].stage;
    if (stage > 0) args.links.forward_in->receive(here.input(0), kEarlier);
    here.evaluate(args.batch, args.losses);
    if (stage < last) args.links.forward_out->start_send(here.output(0), kLater);
  }
  guard.finish();
}

}  // namespace baekji
