#include "plan/search.h"

#include <algorithm>

#include "core/error.h"
#include "plan/peer_memory.h"

namespace baekji {
namespace {

std::vector<std::int64_t> divisors(std::int64_t n) {
  std::vector<std::int64_t> result;
  for (std::int64_t i = 1; i <= n; ++i) {
    if (n % i == 0) result.push_back(i);
  }
  return result;
}

std::vector<std::int64_t> powers_of_two(std::int64_t most) {
  std::vector<std::int64_t> result;
  for (std::int64_t i = 1; i <= most; i *= 2) result.push_back(i);
  return result;
}

// The longest pipeline among the published steps that the model was checked with.
constexpr std::int64_t kMostPipelineRanks = 64;
// More stages of a rank save little of the bubble that is left and cost a transfer each.
constexpr std::int64_t kMostVirtualStages = 32;

// All that may be varied, one loop inside another.
class Enumeration {
 public:
  Enumeration(const StepQuestion& question, const SearchSpace& space) : question_(question), space_(space) {}

  std::vector<Candidate> all() {
    if (!space_.free_numerics) {
      axes({.workload = question_.workload, .tensor_grains = space_.most_tensor});
      return std::move(found_);
    }
    for (const std::int64_t grains : powers_of_two(question_.workload.model.kv_heads)) {
      if (question_.workload.model.kv_heads % grains != 0 || question_.workload.model.heads % grains != 0) continue;
      for (const std::int64_t micro_batch : powers_of_two(8)) {
        for (const std::int64_t replicas : powers_of_two(question_.workload.global_batch / micro_batch)) {
          if (question_.workload.global_batch % (micro_batch * replicas) != 0) continue;
          Candidate c{.workload = question_.workload, .tensor_grains = grains};
          c.workload.micro_batch = micro_batch;
          c.workload.replicas = replicas;
          c.other_contract = grains != space_.most_tensor || micro_batch != question_.workload.micro_batch ||
                             replicas != question_.workload.replicas;
          axes(c);
        }
      }
    }
    return std::move(found_);
  }

 private:
  void axes(const Candidate& base) {
    for (const std::int64_t tensor : powers_of_two(base.tensor_grains)) {
      if (space_.devices % tensor != 0) continue;
      for (const std::int64_t pipeline : divisors(space_.devices / tensor)) {
        if (pipeline > std::min(kMostPipelineRanks, base.workload.model.layers)) break;
        const std::int64_t data = space_.devices / tensor / pipeline;
        if (data > base.workload.replicas) continue;  // ranks without a replica would only wait
        // With numerics free, replicas stay near the data degree: more only cost conversions, fewer lose a node's ease.
        if (space_.free_numerics && base.other_contract && base.workload.replicas > 8 * data) continue;
        Candidate c = base;
        c.workload.layout.tensor = tensor;
        c.workload.slices = base.tensor_grains / tensor;
        c.workload.layout.pipeline = pipeline;
        c.workload.layout.data = data;
        c.workload.layout.layers_per_stage.clear();  // the experiment's own are for its own degrees
        schedules(c);
      }
    }
  }

  void schedules(Candidate c) {
    ParallelLayout& l = c.workload.layout;
    l.virtual_stages = 1;
    for (const char* schedule : {"1f1b", "zb-h1"}) {
      l.schedule = schedule;
      if (l.pipeline > 1 || l.schedule == "1f1b") sharing(c);
    }
    if (l.pipeline == 1) return;
    l.schedule = "interleaved";
    for (std::int64_t v = 2; v <= kMostVirtualStages && v * l.pipeline <= c.workload.model.layers; ++v) {
      const bool even =
          c.workload.model.layers % (v * l.pipeline) == 0 || (c.workload.model.layers + 2) % (v * l.pipeline) == 0;
      if (!even || c.workload.micro_batches() % l.pipeline != 0) continue;
      l.virtual_stages = v;
      sharing(c);
    }
  }

  void sharing(Candidate c) {
    ParallelLayout& l = c.workload.layout;
    for (std::int64_t zero = 0; zero <= (l.pipeline == 1 ? 3 : 2); ++zero) {
      if (zero > 0 && l.data == 1) break;
      l.zero = zero;
      for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
        if (l.schedule == "zb-h1" && recompute != Recompute::kNone) break;
        l.recompute = recompute;
        found_.push_back(c);
      }
    }
  }

  const StepQuestion& question_;
  const SearchSpace& space_;
  std::vector<Candidate> found_;
};

}  // namespace

double bytes_at_least(const Workload& w) {
  const std::vector<std::int64_t> layers = stage_layers(w);
  std::int64_t fewest = 0;
  for (std::size_t s = 0; s < layers.size(); s += static_cast<std::size_t>(w.layout.pipeline)) fewest += layers[s];
  const double parameters = static_cast<double>(fewest) * block_parameters_of_rank(w);
  const auto data = static_cast<double>(w.layout.data);
  const double weights = w.layout.zero < 3 ? 2 : 0;
  // The first stage's activations: a micro-batch for each rank is alive there, with the residual stream before each
  // block, and what blocks keep where nothing is computed again (more than a peer's, which fuse it).
  const auto tensor = static_cast<double>(w.layout.tensor);
  double token = 2 * static_cast<double>(w.model.hidden) / tensor;
  if (w.layout.recompute == Recompute::kNone) token += saved_bytes_per_token(w, implementation_profile("megatron"));
  const auto live = static_cast<double>(std::min(w.layout.pipeline, w.micro_batches()) * fewest);
  const double activations = token * static_cast<double>(w.micro_batch * w.sequence) * live;
  return activations +
         parameters * (weights + 4 + 8 / (w.layout.zero >= 2 ? data : 1) + 12 / (w.layout.zero >= 1 ? data : 1));
}

SearchResult search_layouts(const StepQuestion& q, const SearchSpace& space, const MemoryOf& memory_of) {
  SearchResult result;
  std::vector<Candidate> priced;
  for (Candidate& c : Enumeration(q, space).all()) {
    ++result.tried;
    try {
      c.workload.layout.layers_per_stage = space.layers_of(c.workload);
      const double least = space.least_bytes(c.workload);
      if (least > space.room_bytes) {
        ++result.refused["state and activations are surely larger than a device's memory"];
        continue;
      }
      c.forecast = forecast_step({c.workload, q.cluster, q.profile});
      priced.push_back(std::move(c));
    } catch (const Error& error) {
      ++result.refused[error.problem()];
    }
  }
  std::stable_sort(priced.begin(), priced.end(),
                   [](const Candidate& a, const Candidate& b) { return a.forecast.step_s < b.forecast.step_s; });
  double missing = 0;
  for (Candidate& c : priced) {
    if (result.best.size() == space.wanted) {
      ++result.refused["slower than these"];
      continue;
    }
    try {
      c.memory_bytes = memory_of(c);
    } catch (const Error& error) {
      ++result.refused[error.problem()];
      continue;
    }
    if (c.memory_bytes <= space.room_bytes) {
      result.best.push_back(std::move(c));
      continue;
    }
    ++result.refused["the largest rank needs more than a device's memory"];
    if (missing == 0 || c.memory_bytes - space.room_bytes < missing) {
      missing = c.memory_bytes - space.room_bytes;
      result.nearest = std::move(c);
    }
  }
  return result;
}

}  // namespace baekji
