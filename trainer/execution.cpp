#include "trainer/execution.h"

#include "parallel/communicator_threads.h"
#include "proof/genesis.h"
#include "trainer/job.h"
#include "trainer/layout.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"

namespace baekji {

Execution::Execution(const Args& args, Communicator& world)
    : args_(args),
      pool_(thread_count(args.experiment.layout, args.machine.ranks)),
      kernels_(tied_to(world,
                       args.kernels ? args.kernels(pool_) : make_kernels(args.experiment.layout, pool_, args.machine))),
      ranks_(args.experiment.layout.mesh(), world),
      engine_(args.experiment, args.inputs.loader, *kernels_, ranks_) {}

void Execution::start_from_genesis() {
  fill_genesis(engine_.shards(), args_.inputs.seed, pool_);
  go_back({});
}

void Execution::start_from(const std::filesystem::path& path, const RunPosition& position) {
  Checkpoint checkpoint = Checkpoint::open(path);
  if (world().rank() == 0) checkpoint.require_exact(pool_);  // the owner's, and perhaps made to deceive
  checkpoint.load(engine_.shards());
  go_back(position);
}

void Execution::go_back(const RunPosition& position) {
  position_ = position;
  engine_.state_changed();
}

StepRecord Execution::step(bool with_root) {
  const std::int64_t step = position_.step + 1;
  const std::int64_t batch = args_.skipped.batch_of(step);
  const StepResult result = engine_.step(step, position_.updates + 1, batch);
  StepRecord record = step_record(position_, batch, args_.inputs.loader.order(), result);
  if (with_root) record.state_root = root();
  position_ = position_after(record);
  return record;
}

void for_each_rank(const Experiment& experiment, std::int64_t job_size, Communicator* job,
                   const std::function<void(Communicator& world)>& body) {
  const std::int64_t ranks = experiment.layout.mesh().size();
  if (job_size == ranks && job != nullptr) {
    body(*job);
  } else if (job_size == 1) {
    run_as_ranks(narrow<int>(ranks), body);
  } else {
    throw Error("the layout does not fit the job")
        .values(fmt::format("{} ranks, or one process", ranks), fmt::format("{} ranks", job_size))
        .at(describe(experiment.layout));
  }
}

}  // namespace baekji
