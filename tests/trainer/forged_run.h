#pragma once
// Runs as a dishonest owner would write them: every file is consistent, but the state was changed, or another batch was
// taken, somewhere on the way.

#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "parallel/rank_groups.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/engine.h"
#include "trainer/rank_kernels.h"
#include "trainer/run_history.h"
#include "trainer/run_inputs.h"
#include "trainer/step_record.h"
#include "trainer/verify.h"

namespace baekji::tiny {

/// Of a run of these tests on this machine.
inline KernelSet this_kernel_set() {
  ThreadPool pool(1);
  return kernel_set_of(*make_cpu_kernels(pool));
}

struct Forgery {
  /// Called with 0 before step 0 is recorded, and after each step before its record.
  std::function<void(std::int64_t step, std::span<const StateShard> state)> change;
  /// The batch that a step really trains on; the record tells its own.
  std::function<std::int64_t(std::int64_t step)> batch = [](std::int64_t step) { return step; };
  /// What the record says instead.
  std::function<void(StepRecord& record)> record = [](StepRecord&) {};
  /// What the session says that it was computed by.
  KernelSet kernel_set = this_kernel_set();
};

/// Writes a whole run of `e` into its output folder, with a checkpoint every run.checkpoint_every steps; goes on where
/// there is one.
inline void write_run(const Experiment& e, const Forgery& forgery) {
  const RunFolder folder{e.output()};
  const RunInputs inputs = open_inputs(e);
  ThreadPool pool(1);
  const auto kernels = make_cpu_kernels(pool);
  const auto world = make_self_communicator();
  RankGroups ranks(e.layout.mesh(), *world);
  Engine engine(e, inputs.loader, *kernels, ranks);
  bool begun = fs::exists(folder.ledger());
  RunHistory history({.folder = folder,
                      .contract = inputs.contract,
                      .kernel_set = forgery.kernel_set,
                      .seed = inputs.seed,
                      .tensor_grains = e.numerics.tensor_grains,
                      .keep = 1000,
                      .signing_key = e.run.signing_key,
                      .accept_kernel_set = true,
                      .warn = [](const std::string&) {}},
                     {.held = engine.shards(),
                      .owned = engine.owned_shards(),
                      .root_of =
                          [&](std::span<const StateLeaf>) {
                            if (!begun && forgery.change) forgery.change(0, engine.shards());
                            begun = true;
                            return engine.state_root(pool);
                          }},
                     *world, pool);
  posix_file_system().write(folder.experiment(), resolved_toml(e));
  posix_file_system().write(folder.tokenizer(), inputs.tokenizer);
  engine.state_changed();
  for (std::int64_t step = history.position().step + 1; step <= e.run.steps; ++step) {
    const RunPosition before = history.position();
    const StepResult result = engine.step(step, before.updates + 1, forgery.batch(step));
    if (forgery.change) forgery.change(step, engine.shards());
    engine.state_changed();
    StepRecord record = step_record(before, step, inputs.loader.order(), result);
    forgery.record(record);
    history.record(record, false);
    if (step % e.run.checkpoint_every == 0) {
      history.begin_save(true);
      history.finish_save();
    }
  }
  history.end();
}

struct Verdict {
  bool passed = false;  // verified: all that was asked for
  bool failed = false;  // NOT verified; neither: partly
  std::string text;     // the lines, or the error
};

inline Verdict verdict_of(const VerifyOptions& options) {
  Verdict verdict;
  const auto world = make_self_communicator();
  try {
    const VerifyVerdict came =
        verify(options, {.world = *world}, [&](const std::string& line) { verdict.text += line + "\n"; });
    verdict.passed = came.outcome == VerifyOutcome::kVerified;
    verdict.failed = came.outcome == VerifyOutcome::kFailed;
    verdict.text += came.last_line + "\n";
  } catch (const Error& error) {
    verdict.failed = true;
    verdict.text += std::string("error: ") + error.what();
  }
  return verdict;
}

inline Experiment eight_steps(const std::string& name, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"run.steps=8", "run.keep=100"});
  return load(fresh_folder(name), more);
}

inline void flip_bit(const fs::path& path, std::int64_t byte) {
  std::string bytes = read_text(path);
  bytes.at(static_cast<std::size_t>(byte)) = static_cast<char>(bytes.at(static_cast<std::size_t>(byte)) ^ 1);
  std::ofstream(path, std::ios::binary) << bytes;
}

inline fs::path copy_of(const fs::path& run, const std::string& name) {
  const fs::path copy = fresh_folder(name);
  fs::copy(run, copy, fs::copy_options::recursive);
  return copy;
}

inline fs::path state_of(const fs::path& run, std::int64_t step) {
  return run / "checkpoints" / fmt::format("step-{:08}", step);
}

inline const fs::path& honest_run() {
  static const fs::path kRun = [] {
    const Experiment e = eight_steps("honest");
    train_alone(e);
    return e.output();
  }();
  return kRun;
}

// Another model of the same shape, as one value for each element.
inline float foreign(std::int64_t i) {
  return 0.03F * std::sin(static_cast<float>(i) + 1.0F);
}
inline void mix_in_foreign(std::span<const StateShard> state, float share) {
  for (const StateShard& shard : state) {
    for (std::int64_t i = 0; i < shard.count; ++i) {
      if (shard.tensor->logical_index(shard.slice, shard.begin + i) < 0) continue;  // padding stays zero
      shard.values[0][i] += share * (foreign(i) - shard.values[0][i]);
    }
  }
}

}  // namespace baekji::tiny
