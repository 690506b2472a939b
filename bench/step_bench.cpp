// step_bench EXPERIMENT.toml: where the time of a whole training step goes, against the ceilings of the same run.
//
// Prints the matmul ceiling, the GEMM-only bound (every matrix product of a step at the faster of oneDNN packed and
// unpacked, with oneDNN's own threads), tokens/s of the step (data, optimizer, fixed point, ledger record included),
// the share of the bound, and a row per operation. `--json` prints one line for scripts.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/bench.h"
#include "bench/onednn_matmul.h"
#include "bench/timed_kernels.h"
#include "core/digest.h"
#include "core/file_system.h"
#include "data/loader.h"
#include "kernels/cpu/ceiling.h"
#include "proof/genesis.h"
#include "trainer/engine.h"
#include "trainer/run_inputs.h"
#include "trainer/run_log.h"

namespace baekji::bench {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Arguments {
  std::string experiment;
  std::vector<std::string> overrides;
  std::int64_t steps = 5;
  int rounds = 3;
  bool json = false;
};

struct Measured {
  double step_s = 0;   ///< median, without the timing decorator
  double bound_s = 0;  ///< all matrix products of a step by the library
  double own_s = 0;    ///< the same products by our kernels, inside the step
  std::int64_t tokens = 0;
  std::int64_t planned_bytes = 0;
  double ceiling_flops = 0;
  double bandwidth = 0;
};

// Seconds that the library needs for one product of this shape; in fp32 where it has no bf16 products here.
double library_seconds(const MatmulShape& shape, int threads, int rounds) {
  Tensors memory;
  const DType input = library_matmul_type(shape.input);
  const DType output = input == shape.input ? shape.output : DType::kFloat32;
  const auto operand = [&](bool transposed, std::int64_t rows, std::int64_t columns) {
    return transposed ? memory.make(input, {columns, rows}) : memory.make(input, {rows, columns});
  };
  const MatmulArgs args{.a = operand(shape.transpose_a, shape.m, shape.inner),
                        .b = operand(shape.transpose_b, shape.inner, shape.n),
                        .c = memory.make(output, {shape.m, shape.n}),
                        .transpose_a = shape.transpose_a,
                        .transpose_b = shape.transpose_b,
                        .accumulate = shape.accumulate};
  std::vector<OnednnMatmul> candidates;
  candidates.emplace_back(args, false, threads);
  candidates.emplace_back(args, true, threads);
  const std::vector<double> times = best_times_s({[&] { candidates[0].run(); }, [&] { candidates[1].run(); }},
                                                 {.threads = threads, .rounds = rounds});
  return *std::min_element(times.begin(), times.end());
}

void print_tables(const TimedKernels& timed, const Measured& m, std::int64_t steps,
                  const std::map<MatmulShape, double>& library) {
  fmt::print("\n{:<22} {:>6} {:>10} {:>7} {:>12} {:>9}\n", "operation", "calls", "ms/step", "share", "rate", "ceiling");
  const double per_step = 1e3 / static_cast<double>(steps);
  double listed = 0;
  for (const auto& [name, total] : timed.totals()) {
    const double ms = total.seconds * per_step;
    listed += ms;
    const bool arithmetic = total.flops > 0;
    const std::string rate = arithmetic ? fmt::format("{:.1f} GF/s", total.flops / total.seconds / 1e9)
                                        : fmt::format("{:.1f} GB/s", total.bytes / total.seconds / 1e9);
    const double share =
        arithmetic ? total.flops / total.seconds / m.ceiling_flops : total.bytes / total.seconds / m.bandwidth;
    fmt::print("{:<22} {:>6} {:>10.2f} {:>6.1f}% {:>12} {:>8.0f}%\n", name, total.calls / steps, ms,
               ms / (m.step_s * 10), rate, 100 * share);
  }
  fmt::print("{:<22} {:>6} {:>10.2f} {:>6.1f}%\n", "everything else", "", m.step_s * 1e3 - listed,
             100 - listed / (m.step_s * 10));
  fmt::print("\n{:<44} {:>5} {:>9} {:>9} {:>7}\n", "matrix product (a, b, + = accumulated)", "calls", "ours GF/s",
             "oneDNN", "ratio");
  for (const auto& [shape, total] : timed.matmuls()) {
    const double ours = total.flops / total.seconds / 1e9;
    const double theirs = shape.flops() / library.at(shape) / 1e9;
    fmt::print("{:<44} {:>5} {:>9.1f} {:>9.1f} {:>7.2f}\n", shape.describe(), total.calls / steps, ours, theirs,
               ours / theirs);
  }
}

class StepBench {
 public:
  explicit StepBench(const Arguments& a)
      : a_(a),
        e_(load_experiment(a.experiment, a.overrides)),
        pool_(e_.layout.threads > 0 ? static_cast<int>(e_.layout.threads)
                                    : static_cast<int>(std::thread::hardware_concurrency())),
        kernels_(make_cpu_kernels(pool_)),
        timed_(*kernels_),
        loader_(open_inputs(e_).loader) {}

  void run() {
    Measured m{.planned_bytes = Engine::plan(e_, *kernels_)->total_bytes()};
    m.ceiling_flops = measure_matmul_ceiling(pool_, element_types(e_.numerics).compute);
    m.bandwidth = measure_copy_bandwidth(pool_);
    time_steps(m, *kernels_, nullptr);
    std::map<MatmulShape, double> library;
    time_steps(m, timed_, &library);
    report(m, library);
  }

 private:
  void time_steps(Measured& m, Kernels& kernels, std::map<MatmulShape, double>* library) {
    const auto world = make_self_communicator();
    RankGroups ranks({}, *world);
    Engine engine(e_, loader_, kernels, ranks);
    fill_genesis(engine.shards(), static_cast<std::uint64_t>(e_.identity.seed), pool_);
    engine.state_changed();
    engine.step(1, 1);  // warm-up: page faults, packed copies
    timed_.reset();
    std::vector<double> times;
    for (std::int64_t step = 2; step <= 1 + a_.steps; ++step) {
      const auto start = Clock::now();
      m.tokens = engine.step(step, step).tokens;
      batch_root(loader_.order(), step);
      times.push_back(since(start));
    }
    if (library == nullptr) {
      std::sort(times.begin(), times.end());
      m.step_s = times[times.size() / 2];
      return;
    }
    for (const auto& [shape, total] : timed_.matmuls()) {
      const double seconds = library_seconds(shape, pool_.threads(), a_.rounds);
      (*library)[shape] = seconds;
      m.bound_s += seconds * static_cast<double>(total.calls) / static_cast<double>(a_.steps);
      m.own_s += total.seconds / static_cast<double>(a_.steps);
    }
  }

  void report(const Measured& m, const std::map<MatmulShape, double>& library) const {
    const double tokens_per_s = static_cast<double>(m.tokens) / m.step_s;
    const double bound = static_cast<double>(m.tokens) / m.bound_s;
    if (a_.json) {
      const nlohmann::ordered_json line = {{"experiment", e_.identity.name},
                                           {"precision", e_.numerics.precision},
                                           {"threads", pool_.threads()},
                                           {"tensor_grains", e_.numerics.tensor_grains},
                                           {"replicas", e_.numerics.replicas},
                                           {"library_type", name_of(library_type())},
                                           {"ceiling_gflops", m.ceiling_flops / 1e9},
                                           {"bandwidth_gbs", m.bandwidth / 1e9},
                                           {"bound_tokens_per_s", bound},
                                           {"tokens_per_s", tokens_per_s},
                                           {"share_of_bound", tokens_per_s / bound},
                                           {"own_matmul_share", m.bound_s / m.own_s},
                                           {"planned_bytes", m.planned_bytes},
                                           {"peak_bytes", peak_resident_bytes()}};
      fmt::print("{}\n", line.dump());
      return;
    }
    fmt::print("{} {}, {} threads, tensor_grains {}, replicas {}\n", e_.identity.name, e_.numerics.precision,
               pool_.threads(), e_.numerics.tensor_grains, e_.numerics.replicas);
    fmt::print("matmul ceiling      {:>8.1f} GFLOP/s     copy bandwidth {:.1f} GB/s     library products in {}\n",
               m.ceiling_flops / 1e9, m.bandwidth / 1e9, name_of(library_type()));
    fmt::print("GEMM-only bound     {:>8.0f} tokens/s    ({:.1f} ms; our own products take {:.1f} ms)\n", bound,
               m.bound_s * 1e3, m.own_s * 1e3);
    fmt::print("whole training step {:>8.0f} tokens/s    ({:.1f} ms)\n", tokens_per_s, m.step_s * 1e3);
    fmt::print("share of the bound  {:>8.1f} %\n", 100 * tokens_per_s / bound);
    print_tables(timed_, m, a_.steps, library);
  }

  DType library_type() const { return library_matmul_type(element_types(e_.numerics).compute); }

  Arguments a_;
  Experiment e_;
  ThreadPool pool_;
  std::unique_ptr<Kernels> kernels_;
  TimedKernels timed_;
  Loader loader_;
};

}  // namespace
}  // namespace baekji::bench

int main(int argc, char** argv) {
  CLI::App app("Times whole training steps against the ceilings of the same run.");
  baekji::bench::Arguments arguments;
  app.add_option("experiment", arguments.experiment, "experiment file")->required();
  app.add_option("--set", arguments.overrides, "override a key: section.key=value")->allow_extra_args(false);
  app.add_option("--steps", arguments.steps, "timed steps")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--rounds", arguments.rounds, "rounds of each library product")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_flag("--json", arguments.json, "one JSON line");
  CLI11_PARSE(app, argc, argv);
  try {
    baekji::bench::StepBench(arguments).run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
  return 0;
}
