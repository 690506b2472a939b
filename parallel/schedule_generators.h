#pragma once
// The schedules that there are, by name; and the pass that adds the transfers between stages.

#include <cstdint>
#include <string_view>

#include "parallel/schedule.h"

namespace baekji {

struct ScheduleShape {
  std::int64_t ranks = 1;
  std::int64_t virtual_stages = 1;
  std::int64_t micro_batches = 1;
};

/// One-forward-one-backward (Narayanan et al. 2021, "Efficient large-scale language model training on GPU clusters
/// using Megatron-LM", section 2.2). With one rank this is gradient accumulation.
Schedule one_forward_one_backward(std::int64_t ranks, std::int64_t micro_batches);

/// Interleaved 1F1B (the same paper): a rank runs `virtual_stages` stages in turn, so that the bubble shrinks by that
/// factor and as much more is sent. Throws unless the micro-batches divide into groups of one for each rank.
Schedule interleaved(const ScheduleShape& shape);

/// ZB-H1 (Qi et al. 2023, "Zero bubble pipeline parallelism", section 2.3): the weight gradients of rank p come p
/// micro-batches late and fill the bubble at the end, in the memory of 1F1B's first rank.
Schedule zero_bubble_h1(std::int64_t ranks, std::int64_t micro_batches);

/// "1f1b", "interleaved" or "zb-h1", with transfers. Throws, naming what fits, when the shape cannot be scheduled so.
Schedule make_schedule(std::string_view name, const ScheduleShape& shape);

/// Sends after, and receives before, each pass whose neighbour stage lives on another rank. `schedule` has none yet.
Schedule with_transfers(const Schedule& schedule);

}  // namespace baekji
