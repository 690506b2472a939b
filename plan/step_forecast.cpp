#include "plan/step_forecast.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "parallel/schedule_generators.h"

namespace baekji {
namespace {

// Once a step beside all that is counted: losses read, the next batch begun, norms of gradients.
constexpr double kStep_s = 2e-3;
// For each parameter of the rank: clearing gradient sums and writing weights.
constexpr double kTurnoverBytes = 6;

struct Priced {
  PassCosts costs;  // by stage
  std::vector<BlockSeconds> stages;
};

Priced price(const CostContext& c) {
  const BlockSeconds block = block_seconds(c);
  const BlockSeconds head = head_seconds(c);
  const std::vector<std::int64_t> layers = stage_layers(c.workload);
  Priced priced;
  for (std::size_t s = 0; s < layers.size(); ++s) {
    const auto count = static_cast<double>(layers[s]);
    BlockSeconds stage{.forward = count * block.forward,
                       .backward_input = count * block.backward_input,
                       .backward_weight = count * block.backward_weight,
                       .recomputed = count * block.recomputed};
    if (s + 1 == layers.size()) {
      stage.forward += head.forward;
      stage.backward_input += head.backward_input;
      stage.backward_weight += head.backward_weight;
    }
    priced.costs.forward.push_back(stage.forward.total());
    priced.costs.backward_input.push_back(stage.backward_input.total() + stage.recomputed.total());
    priced.costs.backward_weight.push_back(stage.backward_weight.total());
    priced.stages.push_back(stage);
  }
  const Workload& w = c.workload;
  if (w.layout.pipeline > 1) {
    const double tokens =
        static_cast<double>(w.micro_batch * w.sequence) / static_cast<double>(w.layout.context * w.layout.tensor);
    priced.costs.transfer = c.network.send_s(w.layout.tensor * w.layout.context * w.layout.data,
                                             tokens * static_cast<double>(w.model.hidden) * 2);
  }
  return priced;
}

// Interleaved schedules come in groups of one micro-batch for each rank.
std::int64_t scheduled_micro_batches(const Workload& w) {
  const std::int64_t wanted = w.micro_batches();
  if (w.layout.virtual_stages == 1) return wanted;
  return round_up(wanted, w.layout.pipeline);
}

Schedule schedule_for(const Workload& w, std::int64_t micro_batches) {
  return make_schedule(
      w.layout.schedule,
      {.ranks = w.layout.pipeline, .virtual_stages = w.layout.virtual_stages, .micro_batches = micro_batches});
}

// How long the schedule's play takes. In the middle of a long one each further micro-batch adds the same time, which
// two short plays tell.
double pipeline_seconds(const Workload& w, const PassCosts& costs) {
  const auto played = [&](std::int64_t micro_batches) {
    return simulate(schedule_for(w, micro_batches), costs).length;
  };
  const std::int64_t all = scheduled_micro_batches(w);
  const std::int64_t few = 2 * w.layout.pipeline;
  const std::int64_t more = 3 * w.layout.pipeline;
  double all_s = played(std::min(all, more));
  if (all > more) all_s += (all_s - played(few)) * static_cast<double>(all - more) / static_cast<double>(more - few);
  return all_s * static_cast<double>(w.micro_batches()) / static_cast<double>(all);
}

// Parameters that the fullest rank holds: its blocks and one table (both, where it has both ends).
double rank_parameters(const Workload& w) {
  const std::vector<std::int64_t> layers = stage_layers(w);
  std::vector<std::int64_t> of_rank(static_cast<std::size_t>(w.layout.pipeline));
  for (std::size_t s = 0; s < layers.size(); ++s) of_rank[s % of_rank.size()] += layers[s];
  const std::int64_t most = *std::max_element(of_rank.begin(), of_rank.end());
  const double tables = w.layout.pipeline > 1 || w.model.tied_embeddings ? 1 : 2;
  return static_cast<double>(most) * block_parameters_of_rank(w) + tables * table_parameters_of_rank(w);
}

struct StepEnd {
  double gradients = 0, weights = 0, optimizer = 0;
};

StepEnd end_of_step(const CostContext& c, double forward_s, double backward_s) {
  const Workload& w = c.workload;
  const ImplementationProfile& p = c.profile;
  const std::int64_t ranks = w.layout.data * w.layout.context;
  const double parameters = rank_parameters(w);
  const auto replicas = static_cast<double>(ceil_div(w.replicas, w.layout.data));
  StepEnd end;
  end.gradients = replicas * c.device.bytes_inside_s(parameters * p.replica_bytes);
  double updated = parameters;
  if (ranks > 1) {
    const DeviceGroup group{ranks, w.layout.tensor};
    const bool divided = w.layout.zero > 0 || p.gathers_layers;
    if (divided) updated /= static_cast<double>(ranks);
    const double gradient_bytes = parameters * p.gradient_wire_bytes;
    double sums = divided && !p.all_reduces_gradients ? c.network.reduce_scatter_s(group, gradient_bytes)
                                                      : c.network.all_reduce_s(group, gradient_bytes);
    if (w.layout.zero >= 2 && p.replica_bytes > 0) sums *= replicas;
    double gathers = divided ? c.network.all_gather_s(group, parameters * 2) : 0;
    if (p.gathers_layers || w.layout.zero >= 3) {
      // Only what no pass hides: the first layer's weights and the last one's gradients.
      const double share = 1 / static_cast<double>(std::max<std::int64_t>(1, w.model.layers));
      if (p.gathers_layers) sums *= share;
      gathers *= share;
    }
    const bool hides = !p.gathers_layers && w.layout.zero <= p.hidden_zero;
    end.gradients += p.gradients_hidden && hides ? exposed_seconds(p, sums, backward_s) : sums;
    end.weights = p.weights_hidden && hides ? exposed_seconds(p, gathers, forward_s) : gathers;
  }
  end.optimizer = c.device.bytes_s(updated * p.optimizer_bytes) + c.device.bytes_inside_s(parameters * kTurnoverBytes);
  return end;
}

// The host reads a micro-batch's ids and writes four numbers for each token. Beside a GPU it does so while the device
// works on what it was given before.
double data_s(const CostContext& c) {
  constexpr double kBytesPerToken = 4 + 4 * 4;
  const auto tokens =
      static_cast<double>(c.workload.micro_batch * c.workload.sequence * c.workload.layout.virtual_stages);
  return c.device.is_host() ? c.device.bytes_inside_s(tokens * kBytesPerToken) : 0;
}

// The passes of one micro-batch through all stages of a rank.
BlockSeconds of_rank(const Priced& priced, std::int64_t ranks, std::int64_t rank) {
  BlockSeconds sum;
  for (std::size_t s = static_cast<std::size_t>(rank); s < priced.stages.size(); s += static_cast<std::size_t>(ranks)) {
    sum.forward += priced.stages[s].forward;
    sum.backward_input += priced.stages[s].backward_input;
    sum.backward_weight += priced.stages[s].backward_weight;
    sum.recomputed += priced.stages[s].recomputed;
  }
  return sum;
}

double passes(const BlockSeconds& b) {
  return b.forward.total() + b.backward_input.total() + b.backward_weight.total() + b.recomputed.total();
}

BlockSeconds busiest_rank(const Priced& priced, std::int64_t ranks) {
  BlockSeconds busiest = of_rank(priced, ranks, 0);
  for (std::int64_t rank = 1; rank < ranks; ++rank) {
    const BlockSeconds other = of_rank(priced, ranks, rank);
    if (passes(other) > passes(busiest)) busiest = other;
  }
  return busiest;
}

}  // namespace

std::vector<std::int64_t> stage_layers(const Workload& w) {
  if (!w.layout.layers_per_stage.empty()) return w.layout.layers_per_stage;
  const std::int64_t stages = w.layout.pipeline * w.layout.virtual_stages;
  const std::int64_t layers = w.model.layers;
  const bool ends_count = stages > 1 && layers % stages != 0 && (layers + 2) % stages == 0;
  if (layers < stages && !ends_count) {
    throw Error("there are more stages than layers")
        .values(fmt::format("at most {} stages", layers),
                fmt::format("{} x {}", w.layout.pipeline, w.layout.virtual_stages))
        .hint("lower the pipeline degree or virtual_stages");
  }
  std::vector<std::int64_t> result(static_cast<std::size_t>(stages), layers / stages);
  if (layers % stages == 0) return result;
  if (ends_count) {
    std::fill(result.begin(), result.end(), (layers + 2) / stages);
    --result.front();
    --result.back();
    return result;
  }
  // What is left over goes to the stages from the second on: the ends have a table each.
  for (std::int64_t i = 0; i < layers % stages; ++i) ++result[static_cast<std::size_t>((i + 1) % stages)];
  return result;
}

StepTimeline step_timeline(const StepQuestion& q) {
  const DeviceCost device(q.cluster, q.profile, q.workload.precision);
  const NetworkCost network(q.cluster, q.profile);
  const Priced priced = price({q.workload, q.profile, device, network});
  StepTimeline line{.schedule = schedule_for(q.workload, scheduled_micro_batches(q.workload)), .simulation = {}};
  line.simulation = simulate(line.schedule, priced.costs);
  return line;
}

StepForecast forecast_step(const StepQuestion& q) {
  const Workload& w = q.workload;
  const DeviceCost device(q.cluster, q.profile, w.precision);
  const NetworkCost network(q.cluster, q.profile);
  const CostContext context{w, q.profile, device, network};
  const Priced priced = price(context);
  const BlockSeconds busiest = busiest_rank(priced, w.layout.pipeline);
  const auto micro_batches = static_cast<double>(w.micro_batches());
  const double work = micro_batches * passes(busiest);
  double pipeline = work;
  if (w.layout.pipeline > 1) pipeline = pipeline_seconds(w, priced.costs);
  const StepEnd end = end_of_step(context, busiest.forward.total(), passes(busiest) - busiest.forward.total());
  PassSeconds all = busiest.forward;
  all += busiest.backward_input;
  all += busiest.backward_weight;
  StepForecast f;
  f.parts = {{"products", micro_batches * all.products},
             {"attention", micro_batches * all.attention},
             {"pointwise", micro_batches * all.pointwise},
             {"recomputation", micro_batches * busiest.recomputed.total()},
             {"tensor exchange", micro_batches * all.tensor_exchange},
             {"context exchange", micro_batches * all.context_exchange},
             {"layer gathers", micro_batches * all.layer_gather},
             {"pipeline waits", pipeline - work},
             {"gradient sums", end.gradients},
             {"weights", end.weights},
             {"optimizer", end.optimizer},
             {"data", micro_batches * data_s(context)},
             {"step", kStep_s}};
  f.step_s = std::accumulate(f.parts.begin(), f.parts.end(), 0.0,
                             [](double sum, const NamedSeconds& part) { return sum + part.seconds; });
  f.tokens_per_s_per_device = w.tokens_per_step() / f.step_s / static_cast<double>(w.layout.devices());
  f.mfu = f.tokens_per_s_per_device * w.model.flops_per_token(w.sequence) / device.ceiling_flops();
  return f;
}

}  // namespace baekji
