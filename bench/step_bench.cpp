// step_bench EXPERIMENT.toml: where the time of a whole training step goes, against the ceilings of the same run.
//
// Prints the matmul ceiling, a bound made of the step's own operations (bench/step_report.h), tokens/s of the step
// (data, optimizer, fixed point, ledger record included), the share of the bound, and a row per operation. `--json`
// prints one line for scripts. layout.device says where.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <thread>

#include "bench/step_report.h"
#include "bench/synthetic_store.h"

namespace baekji::bench {
namespace {

struct Arguments {
  std::string experiment;
  std::vector<std::string> overrides;
  bool synthetic = false;
  StepBenchOptions options;
};

void run(const Arguments& a) {
  const Experiment e = load_experiment(a.experiment, a.overrides);
  if (a.synthetic) make_missing_stores(e);
  ThreadPool pool(e.layout.threads > 0 ? static_cast<int>(e.layout.threads)
                                       : static_cast<int>(std::thread::hardware_concurrency()));
  if (e.layout.device == "cuda")
    report_gpu_steps(e, a.options, pool);
  else
    report_cpu_steps(e, a.options, pool);
}

}  // namespace
}  // namespace baekji::bench

int main(int argc, char** argv) {
  CLI::App app("Times whole training steps against the ceilings of the same run.");
  baekji::bench::Arguments arguments;
  app.add_option("experiment", arguments.experiment, "experiment file")->required();
  app.add_option("--set", arguments.overrides, "override a key: section.key=value")->allow_extra_args(false);
  app.add_option("--steps", arguments.options.steps, "timed steps")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--rounds", arguments.options.rounds, "rounds of each library product (CPU)")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_flag("--json", arguments.options.json, "one JSON line");
  app.add_flag("--operations,!--no-operations", arguments.options.operations, "on a GPU: time every operation as well");
  app.add_option("--ceiling-size", arguments.options.ceiling_size, "on a GPU: of the products that give its ceiling")
      ->check(CLI::Range(64, 65536))
      ->capture_default_str();
  app.add_flag("--synthetic", arguments.synthetic, "make the token stores that are missing, of random ids");
  CLI11_PARSE(app, argc, argv);
  try {
    baekji::bench::run(arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
  return 0;
}
