#include "trainer/verify_states.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/parameters.h"
#include "proof/genesis.h"
#include "trainer/replay.h"

namespace baekji {
namespace {

// The distance that is measured is a sum of rounded squares, as each recorded move is.
constexpr double kMoveTolerance = 1e-6;

struct State {
  std::int64_t step = 0;
  std::optional<Checkpoint> checkpoint;  // nothing: step 0
};

// Those whose arrays have the ledger's root.
std::vector<State> good_states(const Anchors& anchors, ThreadPool& pool, VerifyReport& report) {
  std::vector<State> states;
  for (const auto& [step, anchor] : anchors) {
    if (step == 0) {
      states.push_back({});
      continue;
    }
    try {
      State state{.step = step, .checkpoint = Checkpoint::open(anchor.checkpoint)};
      state.checkpoint->require_exact(pool);
      require_equal(to_hex(anchor.root), to_hex(saved_state_root(*state.checkpoint, pool)),
                    "a state is not the one whose root the ledger holds", anchor.checkpoint.string());
      states.push_back(std::move(state));
    } catch (const std::exception& error) {
      report.fail("states", error.what());
    }
  }
  return states;
}

// Sum over the master weights of the squared distance between neighbours, a slice at a time.
std::vector<double> squared_distances(const VerifiedRun& run, std::vector<State>& states, ThreadPool& pool) {
  const ModelParameters declared = declare_parameters(run.experiment.model, run.experiment.numerics.tensor_grains);
  std::vector<double> squares(states.size() - 1, 0.0);
  std::vector<float> before, after;
  for (const ParameterGroup& group : declared.groups) {
    for (const ParameterSpec& spec : group.members) {
      before.resize(static_cast<std::size_t>(spec.logical.slice_elements()));
      after.resize(before.size());
      for (std::int64_t slice = 0; slice < spec.logical.slices; ++slice) {
        StateShard shard{.tensor = &spec.logical,
                         .initialisation = spec.initialisation,
                         .slice = slice,
                         .begin = 0,
                         .count = spec.logical.slice_elements(),
                         .values = {before.data(), nullptr, nullptr}};
        fill_genesis(std::span(&shard, 1), run.seed, pool);
        shard.values[0] = after.data();
        for (std::size_t i = 1; i < states.size(); ++i) {
          states[i].checkpoint->load(std::span(&shard, 1));
          for (std::size_t e = 0; e < after.size(); ++e) {
            const double change = static_cast<double>(after[e]) - static_cast<double>(before[e]);
            squares[i - 1] += change * change;
          }
          before.swap(after);
          shard.values[0] = after.data();
        }
      }
    }
  }
  return squares;
}

void verify_moves(const VerifiedRun& run, std::vector<State>& states, ThreadPool& pool, VerifyReport& report) {
  const std::vector<double> squares = squared_distances(run, states, pool);
  bool good = true;
  for (std::size_t i = 0; i < squares.size(); ++i) {
    const std::int64_t from = states[i].step, last = states[i + 1].step;
    double recorded = 0;
    for (std::int64_t step = from + 1; step <= last; ++step) recorded += run.ledger.move_of(step);
    const double distance = std::sqrt(squares[i]);
    if (std::isfinite(recorded) && distance <= recorded * (1 + kMoveTolerance)) continue;  // and a NaN does not pass
    good = false;
    report.fail("moves", fmt::format("steps {} to {}: the weights moved by {:.9g}, the records of these steps say at "
                                     "most {:.9g}",
                                     from + 1, last, distance, recorded));
  }
  if (good) {
    report.tell("ok", "moves",
                fmt::format("{} states are no further apart than the recorded moves allow", states.size()));
  }
}

}  // namespace

void verify_states(const VerifiedRun& run, const Anchors& anchors, ThreadPool& pool, VerifyReport& report) {
  std::vector<State> states = good_states(anchors, pool, report);
  if (states.size() == anchors.size()) {
    report.tell("ok", "states",
                fmt::format("{} states beside step 0, each with the root that the ledger holds", anchors.size() - 1));
  }
  if (states.size() > 1) verify_moves(run, states, pool, report);
}

}  // namespace baekji
