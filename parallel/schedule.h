#pragma once
// Schedule: what each pipeline rank does, in order. A pure value that can be printed, checked, simulated and drawn.

#include <cstdint>
#include <string>
#include <vector>

namespace baekji {

/// The letter that stands for each in text is beside it.
enum class ActionKind : std::uint8_t {
  kForward,          ///< F
  kBackward,         ///< B: gradients of inputs and weights
  kBackwardInput,    ///< I: gradients of inputs only; the weights' follow as a W
  kBackwardWeight,   ///< W
  kSendForward,      ///< SF: the output of F goes to the next stage's rank
  kReceiveForward,   ///< RF: the input of F comes from the stage before
  kSendBackward,     ///< SB: the input's gradient goes to the stage before
  kReceiveBackward,  ///< RB: the output's gradient comes from the next stage
};
bool is_transfer(ActionKind kind);
bool is_send(ActionKind kind);
/// Whether a transfer carries gradients.
bool is_backward_transfer(ActionKind kind);

/// "F3": forward of micro-batch 3 on the rank's only stage; "F3.1": on its second one. Micro-batches are numbered
/// through all replicas of the rank.
struct Action {
  ActionKind kind = ActionKind::kForward;
  std::int64_t micro_batch = 0;
  std::int64_t virtual_stage = 0;
  bool operator==(const Action&) const = default;
  std::string describe() const;
};

/// Stages are dealt out in turn: stage s is virtual stage s / ranks of rank s % ranks.
constexpr std::int64_t stage_index(std::int64_t ranks, std::int64_t rank, std::int64_t virtual_stage) {
  return virtual_stage * ranks + rank;
}

struct Schedule {
  /// Ordered list of each pipeline rank.
  std::vector<std::vector<Action>> actions;
  std::int64_t micro_batches = 0;
  std::int64_t virtual_stages = 1;  ///< stages of each rank
  bool operator==(const Schedule&) const = default;

  std::int64_t ranks() const { return static_cast<std::int64_t>(actions.size()); }
  std::int64_t stages() const { return ranks() * virtual_stages; }
  std::int64_t stage(std::int64_t rank, std::int64_t virtual_stage) const {
    return stage_index(ranks(), rank, virtual_stage);
  }

  /// The stage that a transfer's values go to: what a send and its receive have in common.
  std::int64_t receiving_stage(std::int64_t rank, const Action& transfer) const;

  /// Whether a rank has such actions.
  bool runs(std::int64_t rank, ActionKind kind) const;
  /// The most micro-batches whose activations (from F until B or W) live at once on a stage, and those that wait for
  /// their W after their I.
  std::int64_t peak_live(std::int64_t rank, std::int64_t virtual_stage) const;
  std::int64_t peak_pending(std::int64_t rank, std::int64_t virtual_stage) const;
  /// The most (micro-batch, stage) pairs that live at once on the whole rank.
  std::int64_t peak_live(std::int64_t rank) const;
};

/// A rank keeps so many gradients of the residual stream: one is worked on while the one before may still be under way.
inline constexpr std::size_t kGradientBuffers = 2;

}  // namespace baekji
