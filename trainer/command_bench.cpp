#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>

#include "core/file_system.h"
#include "parallel/launch.h"
#include "trainer/calibration.h"
#include "trainer/commands.h"
#include "trainer/job.h"
#include "trainer/memory_plan.h"
#include "trainer/rank_kernels.h"

namespace baekji {
namespace {

struct BenchArguments {
  std::string output;
  std::string device = "cpu";
  std::int64_t threads = 0;
  CalibrationArgs calibration;
};

void run(const BenchArguments& a) {
  const Launch launch;
  try {
    LayoutConfig layout;
    layout.device = a.device;
    layout.threads = a.threads;
    CalibrationArgs args = a.calibration;
    args.machine = launch.machine();
    const std::filesystem::path output = a.output;
    if (args.storage.empty()) args.storage = output.has_parent_path() ? output.parent_path() : ".";
    const auto world = make_world(layout, launch, std::make_shared<CommunicatorWatch>());
    ThreadPool pool(thread_count(layout, args.machine.ranks));
    const auto kernels = tied_to(*world, make_kernels(layout, pool, args.machine));
    const Calibration measured = calibrate(*kernels, pool, *world, args);
    if (world->rank() > 0) return;
    fmt::print("{}", measured.describe());
    if (output.empty()) return;
    posix_file_system().write(
        output, "# Made by `baekji bench --calibrate`.\n" + cluster_toml(measured.cluster, measured.sources));
    fmt::print("written: {}\n", output.string());
  } catch (const std::exception& error) {
    launch.abort(fmt::format("error: {}", error.what()));
  }
}

}  // namespace

void add_bench_command(CLI::App& app) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command =
      app.add_subcommand("bench", "what this machine reaches (start it with mpirun for a device on every rank)");
  command->add_option("--calibrate", arguments->output,
                      "write the figures as a cluster file (TOML), for `baekji plan`");
  command->add_option("--device", arguments->device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--threads", arguments->threads, "of each rank; 0: its share of the machine's cores")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--storage", arguments->calibration.storage,
                      "a folder where checkpoints would be; the cluster file's unless given");
  command
      ->add_option("--base", arguments->calibration.base,
                   "a cluster file with what is not measured: peaks, power, failures")
      ->check(CLI::ExistingFile);
  command->add_option("--name", arguments->calibration.name, "what the cluster is called");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace baekji
