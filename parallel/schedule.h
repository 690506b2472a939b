#pragma once
// Schedule: what each pipeline rank does, in order. A pure value that can be printed and checked.

#include <cstdint>
#include <string>
#include <vector>

namespace baekji {

enum class ActionKind : std::uint8_t { kForward, kBackward };

/// "F3": forward of micro-batch 3. Micro-batches are numbered through all replicas of the rank.
struct Action {
  ActionKind kind = ActionKind::kForward;
  std::int64_t micro_batch = 0;
  bool operator==(const Action&) const = default;
};

/// actions[p] is the ordered list of pipeline rank p.
struct Schedule {
  std::vector<std::vector<Action>> actions;
  std::int64_t micro_batches = 0;

  /// The most micro-batches whose activations live at once on rank p.
  std::int64_t peak_live(std::size_t pipeline_rank) const;
  /// One line per rank: "0: F0 B0 F1 B1".
  std::string describe() const;
};

/// One-forward-one-backward (Narayanan et al. 2021, "Efficient large-scale language model training on GPU clusters
/// using Megatron-LM", section 2.2). With one stage this is gradient accumulation.
Schedule one_forward_one_backward(std::int64_t stages, std::int64_t micro_batches);

/// Throws unless every micro-batch goes forward once and then backward once on each rank, backward in index order (so
/// that weight gradients keep micro-batch order within a replica).
void validate(const Schedule& schedule);

}  // namespace baekji
