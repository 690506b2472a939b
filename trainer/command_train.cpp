#include <fmt/format.h>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/launch.h"
#include "trainer/commands.h"
#include "trainer/dry_run.h"
#include "trainer/experiment.h"
#include "trainer/job.h"
#include "trainer/option_range.h"
#include "trainer/trainer.h"

namespace baekji {
namespace {

struct TrainArguments {
  std::string experiment;
  std::vector<std::string> overrides;
  bool accept_kernel_set = false;
  std::int64_t rollback = 0;
  std::string skip;
  bool dry_run = false;
  DryRunOptions dry;
};

std::optional<RollbackEvent> rollback_of(const TrainArguments& arguments) {
  if (arguments.skip.empty()) return std::nullopt;
  const auto [from, to] = parse_range(arguments.skip, "--skip");
  return RollbackEvent{.to = arguments.rollback, .skip = {.from = from, .to = to}};
}

void run(const TrainArguments& arguments) {
  if (arguments.dry_run) {
    fmt::print("{}", dry_run(load_experiment(arguments.experiment, arguments.overrides), arguments.dry));
    return;
  }
  // The file says whether there is MPI at all; what is wrong with it is told once there is a job.
  std::optional<Experiment> read;
  std::exception_ptr unread;
  try {
    read = load_experiment(arguments.experiment, arguments.overrides);
  } catch (const Error&) {
    unread = std::current_exception();
  }
  const std::optional<JobRank> here = read ? rank_without_mpi(read->layout) : std::nullopt;
  const std::unique_ptr<Launch> joined = here ? std::make_unique<Launch>(*here) : std::make_unique<Launch>();
  const Launch& launch = *joined;
  const auto watch = std::make_shared<CommunicatorWatch>();
  std::string label;  // once the mesh is known
  const auto end_all = [&](const std::string& problem) {
    // One rank that cannot go on ends all of them: nobody may wait for it.
    const std::int64_t step = watch->step;
    launch.abort(fmt::format("error{}: {}", step == 0 ? "" : fmt::format(" in step {}", step), problem), label);
  };
  try {
    if (unread) std::rethrow_exception(unread);
    const Experiment& experiment = *read;
    const Mesh mesh = experiment.layout.mesh();
    validate(mesh, launch.size(), experiment.place + " [layout]");
    label = mesh.rank_name(launch.rank());
    watch->rank_name = [mesh](std::int64_t rank) { return mesh.rank_name(rank); };
    watch->limit_s = static_cast<double>(experiment.run.collective_limit_s);
    const auto world = make_world(experiment.layout, launch, watch);
    train(experiment,
          {.accept_kernel_set = arguments.accept_kernel_set,
           .rollback = rollback_of(arguments),
           .machine = launch.machine(),
           .watch = watch,
           .failed = launch.size() == 1 ? nullptr : std::function<void(const std::string&)>(end_all)},
          *world);
  } catch (const std::exception& error) {
    end_all(error.what());
  }
}

}  // namespace

void add_train_command(CLI::App& app) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = app.add_subcommand("train", "train an experiment, or go on from its newest good checkpoint");
  command->add_option("experiment", arguments->experiment, "experiment file (TOML)")->required();
  command->add_option("--set", arguments->overrides, "override a key: section.key=value")->allow_extra_args(false);
  command->add_flag("--accept-kernel-set", arguments->accept_kernel_set,
                    "go on although another kernel set began the run");
  auto* back = command->add_option("--rollback", arguments->rollback,
                                   "go back to the state of this step, and leave out the batches of --skip");
  auto* skip = command->add_option("--skip", arguments->skip, "with --rollback: batches FROM:TO, both included");
  back->needs(skip);
  skip->needs(back);
  auto* dry = command->add_flag("--dry-run", arguments->dry_run, "print layout, schedule and planned memory, and stop");
  command->add_option("--timeline", arguments->dry.timeline, "with --dry-run: draw the pipeline's step (SVG)")
      ->needs(dry);
  command->add_option("--schedule", arguments->dry.schedule, "with --dry-run: write the pipeline's schedule as text")
      ->needs(dry);
  command
      ->add_option("--ranks", arguments->dry.ranks,
                   "with --dry-run: rehearse a step of so many ranks: their groups, calls, bytes and memory")
      ->check(CLI::PositiveNumber)
      ->needs(dry);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace baekji
