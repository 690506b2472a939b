#include "trainer/proof_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/logical_tensor.h"
#include "plan/block_cost.h"
#include "proof/challenge.h"
#include "trainer/plan_report.h"

namespace baekji {
namespace {

constexpr double kStateBytes = 12;  // of a parameter: master weight and both moments
constexpr std::int64_t kDrawn[] = {10, 30, 100, 300};
// Beyond so many times what was asked for, an evaluator has a cluster of its own.
constexpr std::int64_t kMostDoublings = 6;

StateSpread spread_of(const Workload& w, double parameters) {
  const ParallelLayout& l = w.layout;
  const std::vector<std::int64_t> layers = stage_layers(w);
  double busiest = 0;
  for (std::int64_t p = 0; p < l.pipeline; ++p) {
    double held = 0;
    for (std::size_t s = static_cast<std::size_t>(p); s < layers.size(); s += static_cast<std::size_t>(l.pipeline))
      held += static_cast<double>(layers[s]) * block_parameters_of_rank(w);
    if (p == 0) held += table_parameters_of_rank(w);
    if (p == l.pipeline - 1 && !w.model.tied_embeddings) held += table_parameters_of_rank(w);
    busiest = std::max(busiest, held);
  }
  // Data ranks that divide the state divide its hashing; otherwise the first of them answers.
  if (l.zero > 0) busiest /= static_cast<double>(l.data);
  return {.state_bytes = kStateBytes * parameters,
          .busiest_bytes = kStateBytes * busiest,
          .leaves = 3 * std::ceil(parameters / static_cast<double>(kChunkElements)),
          .ranks = l.devices()};
}

// The fastest layout that fits so many machines of the cluster, as a replay binds it: it saves nothing. `least` becomes
// what a device must hold at least.
SearchResult layouts_on(const Experiment& experiment, const StepQuestion& question, std::int64_t devices,
                        double& least) {
  Experiment e = experiment;
  e.run.checkpoint_every = 0;
  e.run.async_save = false;
  const SearchSpace space{.devices = devices,
                          .most_tensor = e.numerics.tensor_grains,
                          .wanted = 1,
                          .room_bytes = room_bytes(question.cluster),
                          .layers_of = trainer_layers(experiment),
                          .least_bytes = [&least](const Workload& w) {
                            const double bytes = bytes_at_least(w);
                            least = std::min(least, bytes);
                            return bytes;
                          }};
  return search_layouts(question, space, [&](const Candidate& c) {
    return bytes_unless_more(with_candidate(e, c), question.profile, space.room_bytes);
  });
}

std::string lack_of(const SearchResult& result, double least, double room) {
  const bool bound = result.nearest.memory_bytes > 0;
  return fmt::format(
      "{} {} of {} on a device",
      bound ? "the nearest layout, " + describe(result.nearest) + ", needs" : "any layout needs at least",
      format_bytes(static_cast<std::int64_t>(bound ? result.nearest.memory_bytes : least)),
      format_bytes(static_cast<std::int64_t>(room)));
}

// Fills the evaluator's part of the question.
EvaluatorPlan evaluator_of(const Experiment& e, const StepQuestion& question, std::int64_t nodes, ProofQuestion& q) {
  const Cluster& c = question.cluster;
  const std::int64_t per_node = std::min(c.devices, c.network.devices_per_node);
  EvaluatorPlan plan{.asked_nodes = nodes, .nodes = 0};
  const bool networked = c.network.network_gb_s > 0;
  if (nodes > 1 && !networked) {
    throw Error("machines that replay together need a network")
        .values("network.network_gb_s above 0", "0")
        .at(c.place)
        .hint("--evaluator-nodes 1, or a cluster file with a network");
  }
  for (std::int64_t i = 0; i <= kMostDoublings && (i == 0 || networked); ++i) {
    const std::int64_t tried = nodes << i;
    double least = std::numeric_limits<double>::infinity();
    const SearchResult result = layouts_on(e, question, tried * per_node, least);
    if (result.best.empty()) {
      if (i == 0) plan.lacks = lack_of(result, least, room_bytes(c));
      continue;
    }
    const Candidate& best = result.best.front();
    plan.nodes = tried;
    plan.devices = tried * per_node;
    plan.layout = describe(best);
    plan.memory_bytes = best.memory_bytes;
    q.evaluator_nodes = tried;
    q.evaluator_step_s = best.forecast.step_s;
    q.evaluator_state = spread_of(best.workload, static_cast<double>(parameter_count(e.model)));
    break;
  }
  return plan;
}

}  // namespace

StateSpread state_spread(const Experiment& e) {
  return spread_of(workload_of(e, e.stages.front()), static_cast<double>(parameter_count(e.model)));
}

MissChances miss_chances(std::int64_t steps, std::int64_t segment_steps, std::int64_t drawn) {
  const std::int64_t segment = std::clamp<std::int64_t>(segment_steps, 1, steps);
  const auto missed = [&](double share) {
    const auto forged = std::max(segment, static_cast<std::int64_t>(std::llround(share * static_cast<double>(steps))));
    return miss_probability(steps, forged, drawn);
  };
  const std::int64_t early = std::max<std::int64_t>(1, ceil_div(steps, 100));
  MissChances m{.drawn = drawn, .tenth = missed(0.1), .hundredth = missed(0.01), .thousandth = missed(0.001)};
  m.one_segment = miss_probability(steps, segment, drawn);
  m.early_segment = m.one_segment * miss_probability(early, std::min(segment, early), 1);
  return m;
}

ProofPlan plan_proof(const Experiment& e, const StepQuestion& question, double step_s, std::int64_t evaluator_nodes) {
  const Workload& w = question.workload;
  ProofPlan plan;
  plan.state = state_spread(e);
  const double sequence_bytes = 4 * static_cast<double>(w.sequence + 1);
  ProofQuestion q{.steps = e.run.steps,
                  .step_s = step_s,
                  .state = plan.state,
                  .root_every = e.run.root_every,
                  .checkpoint_every = e.run.checkpoint_every,
                  .anchor_every = e.run.anchor_every,
                  .batch_bytes = static_cast<double>(ceil_div(w.global_batch, w.layout.data)) * sequence_bytes,
                  .drawn = {std::begin(kDrawn), std::end(kDrawn)},
                  .cluster = question.cluster,
                  .profile = question.profile};
  plan.evaluator = evaluator_of(e, question, evaluator_nodes, q);
  plan.bill = proof_bill(q);
  for (const DrawBill& d : plan.bill.draws)
    plan.chances.push_back(miss_chances(e.run.steps, plan.bill.segment_steps, d.drawn));
  return plan;
}

}  // namespace baekji
