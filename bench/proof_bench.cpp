// What proof costs beside training: core-seconds of the ledger, the batch roots, the steps' moves, the state root and
// the signed log, against those of the steps between two checkpoints. Usage: proof_bench EXPERIMENT [--set key=value
// ...]

#include <fmt/format.h>
#include <sys/resource.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "core/file_system.h"
#include "proof/ledger.h"
#include "proof/log.h"
#include "trainer/execution.h"
#include "trainer/memory_plan.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

double core_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <class Work>
double cost_of(int times, const Work& work) {
  const double start = core_seconds();
  for (int i = 0; i < times; ++i) work(i);
  return (core_seconds() - start) / times;
}

// What the optimizer does for the move of so many weights, apart from the update that it belongs to: the same
// arithmetic on a block that stays in the cache, because the update has read and written the weights anyway. There it
// overlaps with memory, so this is more than it costs.
double square_moves(std::int64_t elements) {
  constexpr std::size_t kBlock = 1024;
  std::array<float, kBlock> now, before;
  now.fill(1.25F);
  before.fill(1.0F);
  std::array<double, kBlock> squares, pairs;
  double sum = 0;
  for (std::int64_t done = 0; done < elements; done += std::int64_t{kBlock}) {
    now[static_cast<std::size_t>(done / 1024) % kBlock] += 0.5F;
    for (std::size_t i = 0; i < kBlock; ++i) {
      const double change = static_cast<double>(now[i]) - static_cast<double>(before[i]);
      squares[i] = change * change;
    }
    double* from = squares.data();
    double* to = pairs.data();
    for (std::size_t count = kBlock / 2; count >= 1; count /= 2) {
#pragma GCC ivdep
      for (std::size_t i = 0; i < count; ++i) to[i] = from[2 * i] + from[2 * i + 1];
      std::swap(from, to);
    }
    sum += from[0];
  }
  return sum;
}

void bench(const Experiment& e, const std::string& key) {
  constexpr int kSteps = 4, kRecords = 500, kBatches = 50, kRoots = 5;
  const RunInputs inputs = open_inputs(e);
  const auto world = make_self_communicator();
  Execution run({.experiment = e, .inputs = inputs, .skipped = {}, .kernels = {}}, *world);
  run.start_from_genesis();
  StepRecord record = run.step(false);  // warm-up
  const double step_s = cost_of(kSteps, [&](int) { record = run.step(false); });

  const fs::path folder = fs::temp_directory_path() / fmt::format("baekji_proof_bench_{}", inputs.digest[0]);
  fs::remove_all(folder);
  fs::create_directories(folder);
  Ledger ledger =
      Ledger::create(folder / "ledger.jsonl", {.contract = inputs.digest, .state_root = run.root(), .kernel_set = {}});
  // Reads the stores again, which a step does anyway.
  const double batch_s = cost_of(kBatches, [&](int i) { (void)inputs.loader.batch_root(i + 1); });
  const double move_s = cost_of(kRoots, [&](int) { record.loss = square_moves(parameter_count(e.model)); });
  const double record_s = cost_of(kRecords, [&](int i) {
    record.step = i + 1;
    ledger.append(record);
  });
  const double root_s = cost_of(kRoots, [&](int) { (void)run.root(); });
  double publish_s = 0;
  if (!key.empty()) {
    LogWriter log({.folder = folder / "log",
                   .ledger = folder / "ledger.jsonl",
                   .contract = inputs.digest,
                   .key = Ed25519PrivateKey::read(key),
                   .kernel_sets = {kernel_set_digest({})}});
    publish_s = cost_of(1, [&](int) { log.publish(ledger.record_count()); });
  }
  fs::remove_all(folder);

  const auto interval = static_cast<double>(e.run.checkpoint_every > 0 ? e.run.checkpoint_every : e.run.steps);
  // A publication covers the records since the one before.
  const double proof_s = interval * (batch_s + move_s + record_s) + root_s + publish_s * interval / kRecords;
  fmt::print("{}: {:.1f} M parameters, a checkpoint every {:.0f} steps; core-seconds\n", e.identity.name,
             static_cast<double>(parameter_count(e.model)) / 1e6, interval);
  fmt::print(
      "  step {:.3f}   batch root {:.2e}   move {:.2e}   record {:.2e}   state root {:.3f}   log, for each record "
      "{:.2e}\n",
      step_s, batch_s, move_s, record_s, root_s, publish_s / kRecords);
  fmt::print("  proof takes {:.4f}% of training\n", 100 * proof_s / (interval * step_s));
}

}  // namespace
}  // namespace baekji

int main(int argc, char** argv) {
  try {
    std::string experiment, key;
    std::vector<std::string> overrides;
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      if (argument == "--set" && i + 1 < argc)
        overrides.emplace_back(argv[++i]);
      else if (argument == "--key" && i + 1 < argc)
        key = argv[++i];
      else
        experiment = argument;
    }
    if (experiment.empty()) throw baekji::Error("usage: proof_bench EXPERIMENT [--set key=value ...] [--key PEM]");
    baekji::bench(baekji::load_experiment(experiment, overrides), key);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
  return 0;
}
