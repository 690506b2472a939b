#include "trainer/side_by_side.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "parallel/gather_text.h"
#include "trainer/rank_kernels.h"
#include "trainer/trace.h"

namespace baekji {
namespace {

using nlohmann::json;

// One execution, with its state before the step that is being compared.
class Side {
 public:
  Side(const SideBySideArgs& args, const Experiment& experiment, const KernelsMaker& kernels, Communicator& world)
      : run_({.experiment = experiment,
              .inputs = args.inputs,
              .skipped = args.ledger.skipped(),
              .kernels =
                  [&](ThreadPool& pool) {
                    auto tracing = std::make_unique<TracingKernels>(
                        kernels ? kernels(pool) : make_kernels(experiment.layout, pool, args.machine));
                    tracing_ = tracing.get();
                    return tracing;
                  },
              .machine = args.machine},
             world) {
    tracing_->know(run_.engine().parameters());
    if (const auto wrong = start_from_anchor(run_, args.anchor)) {
      throw Error("the state to begin with is not the ledger's")
          .values(wrong->recorded, wrong->computed)
          .at(fmt::format("step {}", wrong->step));
    }
  }

  StepRecord step() {
    before_ = run_.position();
    saved_.clear();
    for_each_array([&](const MemoryPlace& array, std::int64_t count) {
      std::vector<float>& copy = saved_.emplace_back(static_cast<std::size_t>(count));
      copy_memory({.data = copy.data()}, {.data = array.data, .device = array.device}, bytes_of(count));
    });
    return run_.step(true);
  }

  Trace trace() {
    std::size_t next = 0;
    for_each_array([&](const MemoryPlace& array, std::int64_t count) {
      copy_memory(array, {.data = saved_[next++].data()}, bytes_of(count));
    });
    run_.go_back(before_);
    tracing_->start();
    run_.step(false);
    return tracing_->stop();
  }

  TracingKernels& kernels() { return *tracing_; }

 private:
  static std::int64_t bytes_of(std::int64_t count) { return count * static_cast<std::int64_t>(sizeof(float)); }
  template <class Visit>
  void for_each_array(const Visit& visit) {
    for (const StateShard& shard : run_.engine().shards()) {
      for (float* values : shard.values) visit(MemoryPlace{.data = values, .device = shard.device}, shard.count);
    }
  }

  TracingKernels* tracing_ = nullptr;  // before run_: its construction sets this
  Execution run_;
  RunPosition before_;
  std::vector<std::vector<float>> saved_;
};

// The trace of all ranks, on every rank.
Trace gathered(const Trace& mine, Communicator& world) {
  Trace all;
  for (const std::string& text : gather_text(world, mine.to_text())) all.merge(text);
  return all;
}

using Rows = std::map<std::uint64_t, std::vector<double>>;

Rows gathered(const Rows& mine, Communicator& world) {
  json rows = json::array();
  for (const auto& [hash, values] : mine) rows.push_back({hash, values});
  Rows all;
  for (const std::string& text : gather_text(world, rows.dump())) {
    for (const json& row : json::parse(text))
      all.try_emplace(row[0].get<std::uint64_t>(), row[1].get<std::vector<double>>());
  }
  return all;
}

// The two rows that are most alike: one value that went wrong early leaves the others of its row as they were.
void pair_values(const Rows& here, const Rows& there, SideBySideDifference& difference) {
  std::int64_t most_equal = -1;
  for (const auto& [hash, a] : here) {
    for (const auto& [other, b] : there) {
      if (a.size() != b.size()) continue;
      std::int64_t equal = 0, first = -1;
      for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i] == b[i])
          ++equal;
        else if (first < 0)
          first = static_cast<std::int64_t>(i);
      }
      if (first < 0 || equal <= most_equal) continue;
      most_equal = equal;
      difference.element = first;
      difference.first = a[static_cast<std::size_t>(first)];
      difference.second = b[static_cast<std::size_t>(first)];
    }
  }
}

constexpr std::size_t kMostRows = 64;  // whose values are looked at

std::vector<std::uint64_t> first_of(std::vector<std::uint64_t> rows) {
  rows.resize(std::min(rows.size(), kMostRows));
  return rows;
}

void find_operation(std::optional<Side>& first, Side& second, Communicator& world, SideBySideDifference& difference) {
  const Trace parts = gathered(second.trace(), world);
  std::optional<TraceDifference> found;
  if (first) found = first_difference(first->trace(), parts);
  // Everybody traces once more, and keeps the rows that differ.
  std::string wanted;
  if (found) {
    wanted = json{{"name", found->name}, {"extra", first_of(found->extra)}}.dump();
  }
  wanted = gather_text(world, wanted).front();
  if (wanted.empty()) {
    difference.operation = "none: the sums of gradients over ranks, or the optimizer";
    return;
  }
  const json target = json::parse(wanted);
  second.kernels().keep(target["name"].get<std::string>(), target["extra"].get<std::vector<std::uint64_t>>());
  (void)second.trace();
  const Rows there = gathered(second.kernels().kept(), world);
  if (!first) return;
  first->kernels().keep(found->name, first_of(found->missing));
  (void)first->trace();
  difference.operation = found->name;
  difference.rows = std::ssize(found->missing);
  pair_values(first->kernels().kept(), there, difference);
}

}  // namespace

std::optional<SideBySideDifference> compare_side_by_side(const SideBySideArgs& args, Communicator& world) {
  if (args.second.layout.zero == 3) {
    throw Error("operations cannot be told apart by their weights with zero = 3")
        .values("zero = 0, 1 or 2", "zero = 3")
        .at("the layout to compare with")
        .hint("compare with another layout, or replay under this one");
  }
  const auto self = make_self_communicator();
  std::optional<Side> first;
  if (world.rank() == 0) first.emplace(args, args.first, args.first_kernels, *self);
  Side second(args, args.second, args.second_kernels, world);
  for (std::int64_t step = args.anchor.step() + 1; step <= args.last; ++step) {
    const StepRecord theirs = second.step();
    std::string members;
    if (first)
      members = fmt::format("{}", fmt::join(step_differences(step_body(first->step()), step_body(theirs)), ","));
    members = gather_text(world, members).front();
    if (members.empty()) continue;
    SideBySideDifference difference{.step = step};
    for (std::size_t at = 0; at <= members.size();) {
      const std::size_t comma = std::min(members.find(',', at), members.size());
      difference.members.push_back(members.substr(at, comma - at));
      at = comma + 1;
    }
    find_operation(first, second, world, difference);
    return difference;
  }
  return std::nullopt;
}

}  // namespace baekji
