#pragma once
// Whether a schedule may run (no deadlock, every pass once, weight gradients in order), and how long it would take.

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/schedule.h"

namespace baekji {

/// Throws, naming rank and action, unless
///  - every micro-batch goes forward once and back once (B, or I and then W) through each stage, forward first;
///  - on each stage all kinds of passes come in index order: sums of gradients keep micro-batch order within a replica,
///    and slots can be reused in turn;
///  - transfers stand where they are needed (with_transfers), and all lists run to their end when a receive waits for
///    its send, channels (one for each pair of neighbouring ranks and direction) deliver in order, and a rank has at
///    most kGradientBuffers - 1 gradients under way that were not received: rendezvous semantics, nothing is buffered.
void validate(const Schedule& schedule);

/// What a pass costs on each stage, in any one unit of time.
struct PassCosts {
  std::vector<double> forward;          ///< by stage
  std::vector<double> backward_input;   ///< by stage
  std::vector<double> backward_weight;  ///< by stage; B costs both
  double transfer = 0;                  ///< from the end of a send's pass until its values have come
};
/// Equal stages whose three passes take one unit each.
PassCosts unit_costs(std::int64_t stages);

/// When each action ran.
struct TimedAction {
  Action action;
  double begin = 0;
  double end = 0;
};
struct Simulation {
  std::vector<std::vector<TimedAction>> ranks;
  double length = 0;                    ///< of the whole step
  std::vector<double> busy;             ///< by rank: time in passes
  std::vector<std::int64_t> peak_live;  ///< by rank

  /// The share of all ranks' time in which they wait.
  double bubble() const;
};
/// Plays a schedule that validate() accepts. Sends take no time of their rank.
Simulation simulate(const Schedule& schedule, const PassCosts& costs);

}  // namespace baekji
