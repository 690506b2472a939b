// mpirun -n 2 parallel_bench EXPERIMENT.toml: what grains, replicas, stages of zero and the axes cost, as ratios of one
// run.
//
// The contenders of a table take one step each in turn, in every round from another one on, so that a slow spell of a
// shared machine hits all of them; a ratio is taken inside a round, and its median over the rounds is printed, of wall
// time and of CPU time of all ranks: others on the machine change the second one less, but it knows nothing of waiting.
// A contender of one rank runs on rank 0, while the other rank sleeps. Contenders of one experiment must give the same
// loss in every step.

#include <fmt/format.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <optional>

#include "core/digest.h"
#include "core/file_system.h"
#include "data/loader.h"
#include "parallel/communicator_mpi.h"
#include "parallel/launch.h"
#include "proof/genesis.h"
#include "trainer/engine.h"
#include "trainer/run_inputs.h"

namespace baekji::bench {
namespace {

using Clock = std::chrono::steady_clock;

double cpu_s() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Arguments {
  std::string experiment;
  std::vector<std::string> overrides;
  int rounds = 7;
};

struct Entry {
  std::string name;
  std::vector<std::string> overrides;
  int threads = 1;  ///< of each rank
};

struct Table {
  std::string title;
  std::vector<Entry> entries;  ///< the first one is the reference
  bool one_experiment = true;  ///< all give the same bits
};

std::vector<Table> tables() {
  const std::string four = "numerics.replicas=4";
  const std::string two_grains = "numerics.tensor_grains=2";
  const std::string single = "numerics.micro_batch=1";
  const auto zero = [&](int stage) {
    return Entry{fmt::format("data=2 zero={}", stage), {four, "layout.data=2", fmt::format("layout.zero={}", stage)}};
  };
  const auto axis = [&](const std::string& name, std::vector<std::string> layout, int threads = 1) {
    for (const std::string& key : {std::string("numerics.replicas=2"), two_grains, single}) layout.push_back(key);
    return Entry{name, std::move(layout), threads};
  };
  return {{"grains: 1 rank x 2 threads, micro-batches of 2",
           {{"tensor_grains=1", {}, 2}, {"tensor_grains=4", {"numerics.tensor_grains=4"}, 2}},
           false},
          {"replicas: 1 rank x 2 threads, micro-batches of 2",
           {{"replicas=1", {}, 2}, {"replicas=4 (fixed point)", {four}, 2}},
           false},
          {"zero: 2 ranks x 1 thread, replicas=4, micro-batches of 2", {zero(0), zero(1), zero(2), zero(3)}},
          {"axes: replicas=2, tensor_grains=2, micro-batches of 1",
           {axis("1 rank x 2 threads", {}, 2), axis("data=2", {"layout.data=2"}), axis("tensor=2", {"layout.tensor=2"}),
            axis("pipeline=2 1f1b", {"layout.pipeline=2"}),
            axis("pipeline=2 zb-h1", {"layout.pipeline=2", "layout.schedule='zb-h1'"})}}};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One entry, bound to memory and warm.
class Contender {
 public:
  Contender(const Arguments& arguments, const Entry& entry, Communicator& world)
      : world_(world), self_(make_self_communicator()) {
    std::vector<std::string> keys = arguments.overrides;
    keys.insert(keys.end(), entry.overrides.begin(), entry.overrides.end());
    e_ = load_experiment(arguments.experiment, keys);
    alone_ = e_.layout.mesh().size() == 1;
    if (alone_ && world.rank() != 0) return;
    pool_.emplace(entry.threads);
    kernels_ = make_cpu_kernels(*pool_);
    loader_.emplace(open_inputs(e_).loader);
    ranks_.emplace(e_.layout.mesh(), alone_ ? *self_ : world);
    engine_.emplace(e_, *loader_, *kernels_, *ranks_);
    fill_genesis(engine_->shards(), static_cast<std::uint64_t>(e_.identity.seed), *pool_);
    engine_->state_changed();
  }

  /// Collective on the world.
  void step() {
    world_.barrier();
    const auto start = Clock::now();
    const double start_cpu_s = cpu_s();
    ++steps_;
    const std::int64_t before_bytes = engine_ ? ranks_->traffic().total() : 0;
    if (engine_) loss_ = engine_->step(steps_, steps_).loss;
    auto cpu_ns = static_cast<std::int64_t>(engine_ ? 1e9 * (cpu_s() - start_cpu_s) : 0);
    if (!alone_) world_.barrier();
    seconds_.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    world_.all_reduce(Tensor(&cpu_ns, DType::kInt64, {1}), ReduceOp::kSumInteger);
    cpu_seconds_.push_back(1e-9 * static_cast<double>(cpu_ns));
    if (engine_) sent_bytes_ = ranks_->traffic().total() - before_bytes;
  }
  /// After the first steps: memory is touched, weights are packed.
  void forget_times() {
    seconds_.clear();
    cpu_seconds_.clear();
  }

  double loss() const { return loss_; }
  const std::vector<double>& seconds() const { return seconds_; }
  const std::vector<double>& cpu_seconds() const { return cpu_seconds_; }
  std::int64_t sent_bytes() const { return sent_bytes_; }
  std::int64_t tokens() const { return e_.numerics.global_batch * e_.model.context; }

 private:
  Communicator& world_;
  std::unique_ptr<Communicator> self_;
  Experiment e_;
  bool alone_ = true;
  std::optional<ThreadPool> pool_;  // this and what follows: where the contender runs
  std::unique_ptr<Kernels> kernels_;
  std::optional<Loader> loader_;
  std::optional<RankGroups> ranks_;
  std::optional<Engine> engine_;
  std::vector<double> seconds_;
  std::vector<double> cpu_seconds_;  // of all ranks
  double loss_ = 0;
  std::int64_t steps_ = 0;
  std::int64_t sent_bytes_ = 0;
};

void require_one_loss(const Table& table, const std::vector<std::unique_ptr<Contender>>& contenders) {
  for (std::size_t i = 1; i < contenders.size(); ++i) {
    if (contenders[i]->loss() == contenders[0]->loss()) continue;
    throw Error("a layout gave another loss")
        .values(fmt::format("{} ({})", contenders[0]->loss(), table.entries[0].name),
                fmt::format("{} ({})", contenders[i]->loss(), table.entries[i].name))
        .at(table.title);
  }
}

// The reference's times over another's, round by round.
std::vector<double> ratios(const std::vector<double>& reference, const std::vector<double>& other) {
  std::vector<double> result;
  for (std::size_t r = 0; r < reference.size(); ++r) result.push_back(reference[r] / other[r]);
  return result;
}

void print(const Table& table, const std::vector<std::unique_ptr<Contender>>& contenders) {
  fmt::print("{}\n  {:<26} {:>8} {:>9} {:>7} {:>15} {:>7} {:>13}\n", table.title, "", "ms/step", "tokens/s", "speed",
             "least - most", "by CPU", "MB sent/step");
  const Contender& reference = *contenders[0];
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    const Contender& c = *contenders[i];
    const std::vector<double> speed = ratios(reference.seconds(), c.seconds());
    const auto [least, most] = std::minmax_element(speed.begin(), speed.end());
    const double step_s = median(c.seconds());
    fmt::print("  {:<26} {:>8.0f} {:>9.0f} {:>7.3f} {:>15} {:>7.3f} {:>13.1f}\n", table.entries[i].name, step_s * 1e3,
               static_cast<double>(c.tokens()) / step_s, median(speed), fmt::format("{:.2f} - {:.2f}", *least, *most),
               median(ratios(reference.cpu_seconds(), c.cpu_seconds())), static_cast<double>(c.sent_bytes()) / 1e6);
  }
  std::fflush(stdout);
}

void run_table(const Arguments& arguments, const Table& table, Communicator& world) {
  std::vector<std::unique_ptr<Contender>> contenders;
  for (const Entry& entry : table.entries) contenders.push_back(std::make_unique<Contender>(arguments, entry, world));
  for (const auto& contender : contenders) {
    contender->step();
    contender->forget_times();
  }
  for (int round = 0; round < arguments.rounds; ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i)
      contenders[(i + static_cast<std::size_t>(round)) % contenders.size()]->step();
    if (table.one_experiment && world.rank() == 0) require_one_loss(table, contenders);
  }
  if (world.rank() == 0) print(table, contenders);
}

void run(const Arguments& arguments, const Launch& launch) {
  if (launch.size() != 2) {
    throw Error("parallel_bench compares one rank with two")
        .values("2 ranks", fmt::format("{}", launch.size()))
        .hint("start it with mpirun -n 2, or bench/parallel");
  }
  const auto world = make_mpi_communicator({});
  const auto start = Clock::now();
  for (const Table& table : tables()) run_table(arguments, table, *world);
  if (launch.rank() != 0) return;
  fmt::print(
      "speed = seconds of the table's first row over this row's, median of {} rounds; by CPU = the same of the CPU "
      "seconds of all ranks; MB of rank 0; {:.0f} s in all\n",
      arguments.rounds, std::chrono::duration<double>(Clock::now() - start).count());
}

}  // namespace
}  // namespace baekji::bench

int main(int argc, char** argv) {
  CLI::App app("Compares grains, replicas, stages of zero and the axes on two ranks.");
  baekji::bench::Arguments arguments;
  app.add_option("experiment", arguments.experiment, "experiment file")->required();
  app.add_option("--set", arguments.overrides, "override a key: section.key=value")->allow_extra_args(false);
  app.add_option("--rounds", arguments.rounds, "steps of each contender")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const baekji::Launch launch;
  try {
    baekji::bench::run(arguments, launch);
  } catch (const std::exception& error) {
    launch.abort(fmt::format("error: {}", error.what()));
  }
  return 0;
}
