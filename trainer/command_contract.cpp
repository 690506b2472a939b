#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "proof/beacon.h"
#include "proof/contract.h"
#include "proof/kernel_set.h"
#include "trainer/commands.h"
#include "trainer/run_inputs.h"

namespace baekji {
namespace {

void print_contract(const std::string& file, const std::vector<std::string>& overrides) {
  const Experiment e = load_experiment(file, overrides);
  const ContractInputs inputs = open_contract(e);
  ThreadPool pool(1);
  const KernelSet kernels = cpu_kernel_set({{"kernels", make_cpu_kernels(pool)->describe()}});
  fmt::print("{}\n\ncontract    {}\nkernel set  {}\n            {}\n", inputs.contract, to_hex(inputs.digest),
             to_hex(kernel_set_digest(kernels)), canonical_json(to_json_value(kernels)));
  if (e.identity.beacon.empty()) {
    fmt::print("seed        {} (chosen: not proved)\n", e.identity.seed);
  } else {
    fmt::print("seed        from {} round {}, which comes at POSIX time {}\n", e.identity.beacon,
               e.identity.beacon_round, beacon_time_s(e.identity.beacon, e.identity.beacon_round));
  }
}

}  // namespace

void add_contract_command(CLI::App& app) {
  struct ContractArguments {
    std::string experiment;
    std::vector<std::string> overrides;
  };
  auto arguments = std::make_shared<ContractArguments>();
  CLI::App* command = app.add_subcommand("contract", "print what decides the bits of an experiment, and its digest");
  command->add_option("experiment", arguments->experiment, "experiment file (TOML)")->required();
  command->add_option("--set", arguments->overrides, "override a key: section.key=value")->allow_extra_args(false);
  command->callback([arguments] { print_contract(arguments->experiment, arguments->overrides); });
}

}  // namespace baekji
