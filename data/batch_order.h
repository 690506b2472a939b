#pragma once
// BatchOrder: which tokens sequence `index` of step `step` is made of, as a pure function of the experiment. No index
// files, no state to save: any process computes any position, so a restart, another layout or an outside auditor gets
// the same order. The method is specified to the byte in docs/formats/batch-order.md.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/digest.h"

namespace baekji {

/// A source of training tokens. The name is part of the order's key: renaming a source reorders it.
struct OrderSource {
  std::string name;
  std::int64_t train_tokens =
      0;  ///< the tokens [0, train_tokens) of its store; validation tokens follow and are never drawn
};

/// What holds from optimizer step `from_step` on. Steps count from 1; the first stage starts at step 1.
struct OrderStage {
  std::int64_t from_step = 1;
  std::vector<double> weights;    ///< one per source, >= 0, any scale: the share of the tokens that come from it
  std::int64_t context = 0;       ///< tokens per sequence
  std::int64_t global_batch = 0;  ///< sequences per step
};

/// One sequence: inputs are the tokens [begin, begin + length) of the source, targets [begin + 1, begin + length].
struct SequencePosition {
  int source = 0;
  std::int64_t pass = 0;  ///< how many times the source had been gone through before, 0 in the first pass
  std::int64_t begin = 0;
  std::int64_t length = 0;

  bool operator==(const SequencePosition&) const = default;
};

/// An immutable value, cheap to copy; all members are const and safe to call from any thread.
class BatchOrder {
 public:
  /// Sequences per mixture block: in each block every source has an exact whole number of sequences. 4096 makes the
  /// granularity of weights 1/4096, and a block's table 32 KiB and 0.4 ms to make.
  static constexpr std::int64_t kMixtureBlock = 4096;

  /// Throws Error when: there is no source or stage; two sources have one name; the first stage does not start at step
  /// 1 or the stages do not follow one another; a weight is negative, not finite, or positive but below 1 / 4096 of
  /// their sum; a stage's context does not divide the longest context; a source with weight has fewer training tokens
  /// than the longest context + 1.
  BatchOrder(std::uint64_t seed, std::vector<OrderSource> sources, std::vector<OrderStage> stages);

  /// Sequence `index` (0 .. global_batch - 1) of step `step` (from 1). Throws on any other index or step.
  SequencePosition at(std::int64_t step, std::int64_t index) const;

  const std::vector<OrderSource>& sources() const;
  const std::vector<OrderStage>& stages() const;
  /// The index of the stage that `step` belongs to, and the stage itself.
  int stage_index(std::int64_t step) const;
  const OrderStage& stage(std::int64_t step) const;
  /// The longest context of all stages: sources are cut into spans of this many tokens.
  std::int64_t span() const;
  /// Sequences of one block of stage `stage_index` that come from `source`, out of kMixtureBlock.
  std::int64_t quota(int stage_index, int source) const;
  /// Spans of `source` in one pass; 0 for a source that is too short and has no weight.
  std::int64_t spans_per_pass(int source) const;

  /// Sequences that steps 1 .. step consume; 0 for step 0.
  std::int64_t data_position(std::int64_t step) const;
  /// Tokens that steps 1 .. step train on, of all sources and of one.
  std::int64_t tokens_drawn(std::int64_t step) const;
  std::int64_t tokens_drawn(std::int64_t step, int source) const;
  /// The highest pass that steps 1 .. step draw from `source`; 0 when they draw nothing. The source starts to repeat in
  /// the first step where this exceeds its value for the step before.
  std::int64_t highest_pass(std::int64_t step, int source) const;
  /// The step that draws the first sequence of pass `pass` (>= 1) of `source`; nothing when no step up to `last_step`
  /// does.
  std::optional<std::int64_t> first_step_of_pass(int source, std::int64_t pass, std::int64_t last_step) const;

 private:
  struct Plan;
  std::shared_ptr<const Plan> plan_;
};

/// The bytes that stand for one sequence in the ledger, little-endian: source (u32), pass (u32), begin (u64), length
/// (u32), then `tokens`, each as u32: the inputs and the last target. Throws unless there are length + 1 tokens.
std::string sequence_bytes(const SequencePosition& position, std::span<const std::int32_t> tokens);

}  // namespace baekji
