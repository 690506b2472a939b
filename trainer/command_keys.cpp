#include <fmt/format.h>

#include "trainer/commands.h"
#include "trainer/experiment.h"

namespace baekji {

void add_keys_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("keys", "every key of an experiment file, with its default and meaning");
  command->callback([] { fmt::print("{}", reference_toml()); });
}

}  // namespace baekji
