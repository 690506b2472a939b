#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/device_wait.h"
#include "bench/step_report.h"
#include "bench/step_run.h"
#include "bench/timed_kernels.h"
#include "core/device_cuda.h"
#include "kernels/cuda/ceiling.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"
#include "trainer/run_inputs.h"

namespace baekji::bench {
namespace {

using Json = nlohmann::ordered_json;

struct Ceilings {
  DType main = DType::kFloat32;  ///< of the experiment's precision, which mfu is against
  DType compute = DType::kFloat32;
  std::map<DType, double> flops;  ///< FLOP/s by the type of the operands
  double bandwidth = 0;           ///< bytes/s read plus written

  double of(DType operand) const {
    const auto found = flops.find(size_of(operand) == 1 ? DType::kFloat8E4M3 : operand);
    return found == flops.end() ? flops.at(main) : found->second;
  }
};

Ceilings measure_ceilings(const Experiment& e, Device device, std::int64_t size) {
  Ceilings ceilings;
  ceilings.compute = element_types(e.numerics).compute;
  ceilings.main = e.numerics.precision == "fp8" ? DType::kFloat8E4M3 : ceilings.compute;
  for (const DType type : {ceilings.compute, ceilings.main}) {
    if (!ceilings.flops.contains(type)) ceilings.flops[type] = measure_matmul_ceiling(device, type, size);
  }
  ceilings.bandwidth = measure_copy_bandwidth(device, 16 * size * size);  // 1 GiB, if nothing else is said
  return ceilings;
}

/// A line of the table of operations, of one step.
struct Row {
  std::string name;
  double calls = 0;
  double seconds = 0;  ///< without the waiting that an idle device costs, too
  double least_s = 0;  ///< at the operation's own ceiling; 0: it has none (between host and device)
  double flops = 0;
  double bytes = 0;
};

// Matrix products by the type of their operands, then by shape; then the rest by name.
class Operations {
 public:
  Operations(const TimedKernels& timed, std::int64_t steps, double wait_s, const Ceilings& ceilings, DType compute)
      : per_step_(1.0 / static_cast<double>(steps)), wait_s_(wait_s), bandwidth_(ceilings.bandwidth) {
    std::map<std::string, OperationTotal> products;
    for (const auto& [shape, total] : timed.matmuls()) {
      const std::string type(name_of(shape.input));
      matmuls.push_back(row(shape.describe(), total, ceilings.of(shape.input)));
      const std::string name = size_of(shape.input) == 1 ? "matmul 8 bits" : "matmul " + type;
      OperationTotal& sum = products[name];
      sum.calls += total.calls;
      sum.seconds += total.seconds;
      sum.flops += total.flops;
      sum.bytes += total.bytes;
      types_[name] = shape.input;
    }
    for (const auto& [name, total] : products) rows.push_back(row(name, total, ceilings.of(types_[name])));
    for (const auto& [name, total] : timed.totals()) {
      if (name != "matmul") rows.push_back(row(name, total, ceilings.of(compute)));
    }
  }

  double bound_s() const {
    double total = 0;
    for (const Row& row : rows) total += row.least_s;
    return total;
  }

  std::vector<Row> rows;
  std::vector<Row> matmuls;

 private:
  Row row(const std::string& name, const OperationTotal& total, double ceiling_flops) const {
    const double calls = static_cast<double>(total.calls);
    Row r{.name = name,
          .calls = calls * per_step_,
          .seconds = std::max(total.seconds - calls * wait_s_, 0.0) * per_step_,
          .flops = total.flops * per_step_,
          .bytes = total.bytes * per_step_};
    if (!total.crosses) r.least_s = r.flops > 0 ? r.flops / ceiling_flops : r.bytes / bandwidth_;
    return r;
  }

  double per_step_;
  double wait_s_;
  double bandwidth_;
  std::map<std::string, DType> types_;
};

struct GpuFigures {
  StepTimes times;
  Ceilings ceilings;
  double model_flops = 0;  ///< of one step, as docs/performance.md counts
  double wait_s = 0;
  std::int64_t planned_bytes = 0;
  std::int64_t taken_bytes = 0;

  double flops_per_s() const { return model_flops / times.median_s(); }
  double mfu() const { return flops_per_s() / ceilings.of(ceilings.main); }
};

Json json_of(const Row& r, double step_s) {
  Json j = {{"name", r.name},
            {"calls", r.calls},
            {"ms", r.seconds * 1e3},
            {"share_of_step", r.seconds / step_s},
            {"limit", r.least_s <= 0 ? "bus"
                      : r.flops > 0  ? "arithmetic"
                                     : "memory"}};
  if (r.seconds <= 0) return j;
  if (r.flops > 0)
    j["tflops"] = r.flops / r.seconds / 1e12;
  else
    j["gbs"] = r.bytes / r.seconds / 1e9;
  if (r.least_s > 0) j["share_of_ceiling"] = r.least_s / r.seconds;
  return j;
}

Json json_of(const Experiment& e, const Kernels& kernels, const GpuFigures& m, const Operations* operations) {
  const CudaInfo info = cuda_info(kernels.device());
  const double step_s = m.times.median_s();
  Json ceilings = Json::object();
  for (const auto& [type, flops] : m.ceilings.flops) ceilings[std::string(name_of(type))] = flops / 1e12;
  Json seconds = Json::array();
  for (const double s : m.times.seconds) seconds.push_back(s * 1e3);
  Json line = {{"experiment", e.identity.name},
               {"precision", e.numerics.precision},
               {"device", info.name},
               {"kernels", kernels.describe()},
               {"driver", info.driver},
               {"runtime", info.runtime},
               {"parameters", parameter_count(e.model)},
               {"tokens_per_step", m.times.tokens},
               {"micro_batch_tokens", e.numerics.micro_batch * e.model.context},
               {"steps_ms", seconds},
               {"step_ms", step_s * 1e3},
               {"tokens_per_s", m.times.tokens_per_s()},
               {"tflops", m.flops_per_s() / 1e12},
               {"mfu", m.mfu()},
               {"ceiling_tflops", m.ceilings.of(m.ceilings.main) / 1e12},
               {"ceilings_tflops", ceilings},
               {"bandwidth_gbs", m.ceilings.bandwidth / 1e9},
               {"planned_bytes", m.planned_bytes},
               {"taken_bytes", m.taken_bytes}};
  if (operations == nullptr) return line;
  line["bound_tokens_per_s"] = static_cast<double>(m.times.tokens) / operations->bound_s();
  line["share_of_bound"] = operations->bound_s() / step_s;
  line["wait_us"] = m.wait_s * 1e6;
  line["operations"] = Json::array();
  for (const Row& row : operations->rows) line["operations"].push_back(json_of(row, step_s));
  line["matmuls"] = Json::array();
  for (const Row& row : operations->matmuls) line["matmuls"].push_back(json_of(row, step_s));
  return line;
}

void print_rows(const std::vector<Row>& rows, double step_s, int width) {
  for (const Row& r : rows) {
    const std::string rate = r.seconds <= 0 ? "-"
                             : r.flops > 0  ? fmt::format("{:.1f} TF/s", r.flops / r.seconds / 1e12)
                                            : fmt::format("{:.1f} GB/s", r.bytes / r.seconds / 1e9);
    const std::string share =
        r.seconds <= 0 || r.least_s <= 0 ? "-" : fmt::format("{:.0f}%", 100 * r.least_s / r.seconds);
    fmt::print("{:<{}} {:>6.0f} {:>10.3f} {:>6.1f}% {:>13} {:>9}\n", r.name, width, r.calls, r.seconds * 1e3,
               100 * r.seconds / step_s, rate, share);
  }
}

void print(const Experiment& e, const Kernels& kernels, const GpuFigures& m, const Operations* operations) {
  const double step_s = m.times.median_s();
  const double tokens = static_cast<double>(m.times.tokens);
  fmt::print("{} {} on {}, {:.2f} G parameters, {} tokens per step, {} per micro-batch\n", e.identity.name,
             e.numerics.precision, cuda_info(kernels.device()).name,
             static_cast<double>(parameter_count(e.model)) / 1e9, m.times.tokens,
             e.numerics.micro_batch * e.model.context);
  for (const auto& [type, flops] : m.ceilings.flops)
    fmt::print("matmul ceiling      {:>9.1f} TFLOP/s    {}\n", flops / 1e12, name_of(type));
  fmt::print("copy bandwidth      {:>9.1f} GB/s\n", m.ceilings.bandwidth / 1e9);
  fmt::print("whole training step {:>9.0f} tokens/s   ({:.1f} ms)\n", m.times.tokens_per_s(), step_s * 1e3);
  fmt::print("                    {:>9.1f} TFLOP/s    mfu {:.1f}%\n", m.flops_per_s() / 1e12, 100 * m.mfu());
  fmt::print("memory              {:>9} planned    {} taken ({:.1f}%)\n", format_bytes(m.planned_bytes),
             format_bytes(m.taken_bytes),
             100 * static_cast<double>(m.taken_bytes) / static_cast<double>(m.planned_bytes));
  if (operations == nullptr) return;
  const double bound_s = operations->bound_s();
  fmt::print("bound of ceilings   {:>9.0f} tokens/s   ({:.1f} ms); the step reaches {:.1f}% of it\n", tokens / bound_s,
             bound_s * 1e3, 100 * bound_s / step_s);
  constexpr int kWidth = 44;
  fmt::print("\noperations of a step in which each is waited for, less the {:.1f} us that waiting alone takes\n",
             m.wait_s * 1e6);
  fmt::print("{:<{}} {:>6} {:>10} {:>7} {:>13} {:>9}\n", "operation", kWidth, "calls", "ms/step", "share", "rate",
             "ceiling");
  print_rows(operations->rows, step_s, kWidth);
  double listed_s = 0;
  for (const Row& row : operations->rows) listed_s += row.seconds;
  fmt::print("{:<{}} {:>6} {:>10.3f} {:>6.1f}%\n", "everything else", kWidth, "", (step_s - listed_s) * 1e3,
             100 * (1 - listed_s / step_s));
  fmt::print("\n{:<{}}\n", "matrix product (a, b, + = accumulated)", kWidth);
  print_rows(operations->matmuls, step_s, kWidth);
}

}  // namespace

void report_gpu_steps(const Experiment& e, const StepBenchOptions& options, ThreadPool& pool) {
  const std::unique_ptr<Kernels> kernels = make_kernels(e.layout, pool, {});
  GpuFigures m;
  m.ceilings = measure_ceilings(e, kernels->device(), options.ceiling_size);
  const MemoryPlan plan = memory_plan(e, *kernels, {.context_bytes = device_bytes_taken(*kernels, {})});
  m.planned_bytes = plan.device->total_bytes();
  require_device_memory(e, *kernels, *plan.device, {});
  const Loader loader = open_inputs(e).loader;

  // One engine for both runs: filling in step 0 takes longer than the steps.
  const DeviceWait wait(*kernels);
  TimedKernels timed(*kernels, [&wait] { wait(); });
  timed.set_timing(false);
  StepRun run(e, loader, timed, pool);
  m.times = run.time(options.steps);
  m.model_flops = flops_per_token(e.model, e.model.context) * static_cast<double>(m.times.tokens);
  m.taken_bytes = device_bytes_taken(*kernels, {});
  m.wait_s = wait.idle_s();
  std::unique_ptr<Operations> operations;
  if (options.operations) {
    constexpr std::int64_t kSteps = 2;  // an operation has many calls in each
    timed.set_timing(true);
    run.time(kSteps);
    operations = std::make_unique<Operations>(timed, kSteps, m.wait_s, m.ceilings, m.ceilings.compute);
  }
  if (options.json)
    fmt::print("{}\n", json_of(e, *kernels, m, operations.get()).dump());
  else
    print(e, *kernels, m, operations.get());
}

}  // namespace baekji::bench
