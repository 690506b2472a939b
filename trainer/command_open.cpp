#include <fmt/format.h>

#include <memory>

#include "parallel/communicator_mpi.h"
#include "parallel/launch.h"
#include "trainer/commands.h"
#include "trainer/layout_keys.h"
#include "trainer/open_states.h"

namespace baekji {
namespace {

void open(OpenOptions options) {
  options.layout = split_keys(options.layout);
  const Launch launch;
  try {
    const auto world = launch.size() == 1 ? make_self_communicator() : make_mpi_communicator({});
    open_states(options, {.world = *world, .machine = launch.machine()},
                [](const std::string& line) { fmt::print("{}\n", line); });
  } catch (const std::exception& error) {
    launch.abort(std::string("error: ") + error.what());
  }
}

}  // namespace

void add_open_command(CLI::App& app) {
  auto options = std::make_shared<OpenOptions>();
  CLI::App* command = app.add_subcommand("open", "make states again that an evaluator drew, for replays from them");
  command->add_option("run", options->run, "run folder")->required();
  command
      ->add_option("--steps", options->steps,
                   "the steps that were drawn: 17,512; of each the state before it, or the nearest earlier one whose "
                   "root the ledger holds")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->required();
  command->add_option("--output", options->output, "folder for the states; without it RUN/opened");
  command->add_option("--layout", options->layout, "keys of [layout] to train under: pipeline=2,tensor=2");
  command->add_option("--store", options->stores, "where a token store of the run is on this machine: NAME=PATH");
  command->callback([options] { open(*options); });
}

}  // namespace baekji
