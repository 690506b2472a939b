#include "trainer/rehearsal.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "core/thread_pool.h"
#include "parallel/call_check.h"
#include "trainer/engine.h"
#include "trainer/layout.h"
#include "trainer/rank_kernels.h"

namespace baekji {
namespace {

// What a rank's calls and memory depend on beside the experiment. Tensor ranks make the same calls; the first one
// answers for more of the state.
struct KindKey {
  std::int64_t pipeline = 0;
  std::int64_t replicas = 0;
  bool first_tensor = false;
  std::vector<std::int64_t> held_by_all;  ///< elements of the parts that tensor ranks or a tied table's ranks add up
  std::vector<std::int64_t> others;       ///< and of what else it updates, without order
  auto operator<=>(const KindKey&) const = default;
};

// The same for every rank of a tensor group, but for first_tensor, which the caller sets.
KindKey key_of(const Experiment& e, const ModelParameters& declared, Kernels& kernels, const MeshCoordinate& at) {
  KindKey key{.pipeline = at.pipeline,
              .replicas = replicas_of(e.numerics.replicas, e.layout.mesh(), at).count,
              .held_by_all = {},
              .others = {}};
  Arena arena(Arena::Mode::kMeasure, kernels.device());
  const ParameterStore store(store_args(e, declared, at, nullptr), kernels, arena);
  for (const ParameterSlice& part : store.owned()) {
    const bool added_up = part.spec->logical.split == Split::kNone || part.tied;
    (added_up ? key.held_by_all : key.others).push_back(part.count);
  }
  std::sort(key.others.begin(), key.others.end());
  return key;
}

AxisTraffic difference(const AxisTraffic& a, const AxisTraffic& b) {
  return {.world = a.world - b.world,
          .tensor = a.tensor - b.tensor,
          .data = a.data - b.data,
          .pipeline = a.pipeline - b.pipeline,
          .activations = a.activations - b.activations,
          .gradients = a.gradients - b.gradients,
          .tied = a.tied - b.tied};
}

class Rehearsing {
 public:
  Rehearsing(const Experiment& e, Kernels& kernels, std::int64_t program_bytes)
      : e_(e),
        mesh_(e.layout.mesh()),
        kernels_(kernels),
        program_bytes_(program_bytes),
        groups_(mesh_.size(), [this](Communicator& world) { const RankGroups made(mesh_, world); }) {}

  Rehearsal run() {
    result_.ranks = mesh_.size();
    find_kinds();
    for (std::size_t kind = 0; kind < result_.kinds.size(); ++kind) rehearse_kind(kind);
    std::vector<const CallRecord*> of_ranks;
    for (const std::size_t kind : result_.kind_of_rank) of_ranks.push_back(&records_[kind]);
    result_.calls_played =
        check_calls({.groups = &groups_, .records = of_ranks, .rank_name = [this](std::int64_t rank) {
                       return mesh_.rank_name(rank);
                     }});
    list_axes();
    return std::move(result_);
  }

 private:
  // Ranks differ in their place of the pipeline, their replicas and what they own of the state.
  void find_kinds() {
    const ModelParameters declared = declare_parameters(e_.model, e_.numerics.tensor_grains);
    std::map<KindKey, std::size_t> kinds;
    result_.kind_of_rank.resize(static_cast<std::size_t>(mesh_.size()));
    for (std::int64_t p = 0; p < mesh_.pipeline; ++p) {
      for (std::int64_t d = 0; d < mesh_.data; ++d) {
        KindKey key = key_of(e_, declared, kernels_, {.pipeline = p, .data = d});
        for (std::int64_t t = 0; t < mesh_.tensor; ++t) {
          const MeshCoordinate at{.pipeline = p, .data = d, .tensor = t};
          key.first_tensor = t == 0;
          const auto [found, is_new] = kinds.emplace(key, result_.kinds.size());
          if (is_new) result_.kinds.push_back({.first = at});
          ++result_.kinds[found->second].ranks;
          result_.kind_of_rank[static_cast<std::size_t>(mesh_.rank(at))] = found->second;
        }
      }
    }
    records_.resize(result_.kinds.size());
  }

  void rehearse_kind(std::size_t index) {
    RankKind& kind = result_.kinds[index];
    CallRecord& record = records_[index];
    const auto world = groups_.world(mesh_.rank(kind.first), record);
    RankGroups ranks(mesh_, *world);
    Engine engine(e_, kernels_, ranks);
    engine.state_changed();
    const auto before = static_cast<std::int64_t>(record.size());
    const AxisTraffic sent = ranks.traffic();
    engine.step(1, 1);
    kind.calls = std::ssize(record) - before;
    kind.step = difference(ranks.traffic(), sent);
    for (std::size_t stage = 1; stage < e_.stages.size(); ++stage) engine.step(e_.stages[stage].from_step, 2);

    MemoryPlan plan = memory_plan(e_, kernels_, {.program_bytes = program_bytes_, .at = kind.first});
    kind.memory_bytes = plan.device->total_bytes();
    if (result_.largest.device && result_.largest.device->total_bytes() >= kind.memory_bytes) return;
    result_.largest = std::move(plan);
    result_.largest_at = kind.first;
  }

  void list_axes() {
    const Mesh& m = mesh_;
    const std::int64_t lines = m.data * m.tensor;
    const std::int64_t edges = e_.layout.virtual_stages > 1 ? m.pipeline : m.pipeline - 1;
    const bool tied = e_.model.tied_embeddings && m.pipeline > 1;
    result_.axes = {{"world", 1, m.size(), &AxisTraffic::world},
                    {"tensor", m.pipeline * m.data, m.tensor, &AxisTraffic::tensor},
                    {"data", m.pipeline * m.tensor, m.data, &AxisTraffic::data},
                    {"activations", lines * edges, 2, &AxisTraffic::activations},
                    {"gradients", lines * edges, 2, &AxisTraffic::gradients},
                    {"tied embedding", tied ? lines : 0, 2, &AxisTraffic::tied}};
  }

  const Experiment& e_;
  Mesh mesh_;
  Kernels& kernels_;
  std::int64_t program_bytes_;
  RecordedGroups groups_;
  Rehearsal result_;
  std::vector<CallRecord> records_;  // by kind
};

}  // namespace

std::string Rehearsal::describe(const Mesh& mesh) const {
  std::string text = fmt::format(
      "rehearsal  {} ranks of {} kinds; {} calls of a step played: the calls of every group agree, nobody waits for "
      "ever\n",
      ranks, kinds.size(), calls_played);
  text += fmt::format("  {:<16} {:>8} {:>8} {:>22} {:>16}\n", "group", "groups", "ranks", "most a rank sends",
                      "all ranks send");
  for (const Axis& axis : axes) {
    if (axis.groups == 0 || axis.ranks == 1) continue;
    std::int64_t most = 0;
    std::int64_t all = 0;
    for (const RankKind& kind : kinds) {
      most = std::max(most, kind.step.*axis.sent_bytes);
      all += kind.ranks * kind.step.*axis.sent_bytes;
    }
    text += fmt::format("  {:<16} {:>8} {:>8} {:>22} {:>16}\n", axis.name, axis.groups, axis.ranks, format_bytes(most),
                        format_bytes(all));
  }
  const auto less = [](const RankKind& a, const RankKind& b) { return a.memory_bytes < b.memory_bytes; };
  const RankKind& least = *std::min_element(kinds.begin(), kinds.end(), less);
  text +=
      fmt::format("least memory    {}: {}\n", mesh.rank_name(mesh.rank(least.first)), format_bytes(least.memory_bytes));
  text += fmt::format("largest rank    {}\n", mesh.rank_name(mesh.rank(largest_at)));
  return text + largest.table();
}

Rehearsal rehearse(const Experiment& experiment, std::int64_t ranks, std::int64_t program_bytes) {
  validate(experiment.layout.mesh(), ranks, experiment.place + " [layout]");
  ThreadPool pool(thread_count(experiment.layout, 1));
  const std::unique_ptr<Kernels> kernels = make_planning_kernels(experiment.layout, pool);
  return Rehearsing(experiment, *kernels, program_bytes).run();
}

}  // namespace baekji
