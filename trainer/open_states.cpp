#include "trainer/open_states.h"

#include <set>

#include "checkpoint/checkpoint_store.h"
#include "trainer/checkpoint_saver.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"
#include "trainer/replay.h"
#include "trainer/run_experiment.h"
#include "trainer/verify_pieces.h"
#include "trainer/verify_run.h"

namespace baekji {
namespace {

// Keeps all: the folder is a list of what was asked for.
constexpr std::int64_t kKeep = std::int64_t{1} << 40;

// Saves the state of an execution, each rank its part. Collective.
void save_state(CheckpointStore& store, const CheckpointInfo& info, Execution& run) {
  const std::vector<StateShard> owned = run.engine().owned_shards();
  CheckpointSaver saver({.store = store,
                         .owned = owned,
                         .keep = kKeep,
                         .root_of = [&](std::span<const StateLeaf> leaves) { return run.engine().state_root(leaves); },
                         .announce = [](const CheckpointInfo&) {}},
                        run.world(), run.pool());
  saver.begin(info, info.state_root, true);
  while (!saver.advance()) continue;
}

const VerifiedRun& with_stores(VerifiedRun& run, const std::vector<std::string>& stores) {
  use_stores(run.experiment, stores);
  return run;
}

class Opening {
 public:
  Opening(const OpenOptions& options, const VerifyJob& job, const std::function<void(const std::string&)>& say)
      : job_(job),
        say_(job.world.rank() == 0 ? say : [](const std::string&) {}),
        quiet_({}),
        run_(open_verified(options.run, quiet_)),
        inputs_(open_verified_inputs(with_stores(run_, options.stores))),
        store_(options.output.empty() ? run_.folder.opened() : options.output),
        experiment_(under_layout(run_, options.layout)) {
    ThreadPool pool(1);
    kernels_ = kernel_set_of(*make_kernels(experiment_.layout, pool, job_.machine));
  }

  void open(const std::vector<std::int64_t>& steps) {
    Anchors anchors = anchors_of(run_.folder, run_.ledger, say_);
    std::set<std::int64_t> wanted;
    for (const std::int64_t step : states_to_open(run_.ledger, steps)) {
      if (const auto it = anchors.find(step); it != anchors.end())
        say_(fmt::format("step {}: there already, {}", step, it->second.checkpoint.string()));
      else
        wanted.insert(step);
    }
    while (!wanted.empty()) {
      const Anchor from = anchor_before(anchors, *wanted.begin());
      // One execution goes on until a kept state is nearer than its own.
      const auto next = anchors.upper_bound(*wanted.begin());
      std::set<std::int64_t> here(wanted.begin(),
                                  next == anchors.end() ? wanted.end() : wanted.lower_bound(next->first));
      make(from, here);
      for (const std::int64_t step : here) wanted.erase(step);
    }
  }

 private:
  void make(const Anchor& from, const std::set<std::int64_t>& wanted) {
    std::optional<Mismatch> mismatch;
    for_each_rank(experiment_, job_.world.size(), &job_.world, [&](Communicator& world) {
      const ReplayResult result = replay({.experiment = experiment_,
                                          .inputs = inputs_,
                                          .ledger = run_.ledger,
                                          .anchor = from,
                                          .last = *wanted.rbegin(),
                                          .kernels = {},
                                          .machine = share_of(job_, world),
                                          .visit =
                                              [&](Execution& run, const StepRecord& record) {
                                                if (wanted.contains(record.step)) save(run, record);
                                              }},
                                         world);
      if (world.rank() == 0) mismatch = result.mismatch;
    });
    if (!mismatch) return;
    throw Error(
        fmt::format("step {} does not come out again: {} differ", mismatch->step, fmt::join(mismatch->members, ", ")))
        .values(mismatch->recorded, mismatch->computed)
        .at(fmt::format("{}, from step {}", run_.folder.root.string(), from.step()))
        .hint("open states under the kernel set that trained them");
  }

  // The root of the record was compared with the ledger's a moment ago.
  void save(Execution& run, const StepRecord& record) {
    save_state(store_,
               {.step = record.step,
                .updates = record.updates,
                .position = record.position,
                .tokens = record.tokens,
                .tensor_grains = experiment_.numerics.tensor_grains,
                .contract = run_.ledger.genesis().contract,
                .state_root = record.state_root.value(),
                .kernel_set = kernels_},
               run);
    if (run.world().rank() == 0)
      say_(fmt::format("step {}: {}, state root {}", record.step, store_.path_of(record.step).string(),
                       to_hex(*record.state_root)));
  }

  const VerifyJob& job_;
  std::function<void(const std::string&)> say_;
  VerifyReport quiet_;
  VerifiedRun run_;
  RunInputs inputs_;
  CheckpointStore store_;
  Experiment experiment_;
  KernelSet kernels_;
};

}  // namespace

std::vector<std::int64_t> states_to_open(const Ledger& ledger, const std::vector<std::int64_t>& steps) {
  std::set<std::int64_t> states;
  for (const std::int64_t step : steps) {
    if (step < 1 || step > ledger.last_step()) {
      throw Error("the ledger does not have this step")
          .values(fmt::format("1 to {}", ledger.last_step()), fmt::format("{}", step))
          .at("--steps");
    }
    states.insert(std::prev(ledger.state_roots().upper_bound(step - 1))->first);
  }
  states.erase(0);
  return {states.begin(), states.end()};
}

void open_states(const OpenOptions& options, const VerifyJob& job, const std::function<void(const std::string&)>& say) {
  if (options.steps.empty()) throw Error("there is nothing to open").values("steps", "none").at("--steps");
  Opening(options, job, say).open(options.steps);
}

}  // namespace baekji
