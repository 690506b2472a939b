#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/bench.h"
#include "bench/onednn_matmul.h"
#include "bench/step_report.h"
#include "bench/step_run.h"
#include "bench/timed_kernels.h"
#include "kernels/cpu/ceiling.h"
#include "trainer/run_inputs.h"
#include "trainer/run_log.h"

namespace baekji::bench {
namespace {

using Seconds = std::map<MatmulShape, double>;

struct CpuFigures {
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

void print_tables(const TimedKernels& timed, const CpuFigures& m, std::int64_t steps, const Seconds& library) {
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

void report(const Experiment& e, const StepBenchOptions& options, int threads, const CpuFigures& m,
            const TimedKernels& timed, const Seconds& products) {
  const DType library = library_matmul_type(element_types(e.numerics).compute);
  const double tokens_per_s = static_cast<double>(m.tokens) / m.step_s;
  const double bound = static_cast<double>(m.tokens) / m.bound_s;
  if (options.json) {
    const nlohmann::ordered_json line = {{"experiment", e.identity.name},
                                         {"precision", e.numerics.precision},
                                         {"threads", threads},
                                         {"tensor_grains", e.numerics.tensor_grains},
                                         {"replicas", e.numerics.replicas},
                                         {"library_type", name_of(library)},
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
  fmt::print("{} {}, {} threads, tensor_grains {}, replicas {}\n", e.identity.name, e.numerics.precision, threads,
             e.numerics.tensor_grains, e.numerics.replicas);
  fmt::print("matmul ceiling      {:>8.1f} GFLOP/s     copy bandwidth {:.1f} GB/s     library products in {}\n",
             m.ceiling_flops / 1e9, m.bandwidth / 1e9, name_of(library));
  fmt::print("GEMM-only bound     {:>8.0f} tokens/s    ({:.1f} ms; our own products take {:.1f} ms)\n", bound,
             m.bound_s * 1e3, m.own_s * 1e3);
  fmt::print("whole training step {:>8.0f} tokens/s    ({:.1f} ms)\n", tokens_per_s, m.step_s * 1e3);
  fmt::print("share of the bound  {:>8.1f} %\n", 100 * tokens_per_s / bound);
  print_tables(timed, m, options.steps, products);
}

}  // namespace

void report_cpu_steps(const Experiment& e, const StepBenchOptions& options, ThreadPool& pool) {
  const std::unique_ptr<Kernels> kernels = make_cpu_kernels(pool);
  TimedKernels timed(*kernels);
  const Loader loader = open_inputs(e).loader;
  CpuFigures m{.planned_bytes = Engine::plan(e, *kernels)->total_bytes()};
  m.ceiling_flops = measure_matmul_ceiling(pool, element_types(e.numerics).compute);
  m.bandwidth = measure_copy_bandwidth(pool);
  {
    StepRun bare(e, loader, *kernels, pool);
    const StepTimes times = bare.time(options.steps);
    m.step_s = times.median_s();
    m.tokens = times.tokens;
  }
  {
    timed.set_timing(false);
    StepRun by_operation(e, loader, timed, pool);
    timed.set_timing(true);
    by_operation.time(options.steps);
  }
  Seconds products;
  const double steps = static_cast<double>(options.steps);
  for (const auto& [shape, total] : timed.matmuls()) {
    const double seconds = library_seconds(shape, pool.threads(), options.rounds);
    products[shape] = seconds;
    m.bound_s += seconds * static_cast<double>(total.calls) / steps;
    m.own_s += total.seconds / steps;
  }
  report(e, options, pool.threads(), m, timed, products);
}

}  // namespace baekji::bench
