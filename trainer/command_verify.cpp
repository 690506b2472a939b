#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>

#include "parallel/communicator_mpi.h"
#include "parallel/launch.h"
#include "trainer/commands.h"
#include "trainer/layout_keys.h"
#include "trainer/option_range.h"
#include "trainer/verify.h"

namespace baekji {
namespace {

struct VerifyArguments {
  VerifyOptions options;
  std::string replay;
  std::string against;
};

// What the command line asks for; a usage error when that is nothing that could be checked.
VerifyOptions options_of(const VerifyArguments& arguments) {
  VerifyOptions options = arguments.options;
  try {
    if (!arguments.replay.empty()) options.replay = parse_range(arguments.replay, "--replay");
    for (std::string& key : split_keys(arguments.against)) {
      if (key == "kernels=reference")
        options.against_reference = true;
      else
        options.against.push_back(std::move(key));
    }
    options.layout = split_keys(options.layout);
    options.require = split_keys(options.require);
    check_request(options);
  } catch (const Error& error) {
    throw CLI::ValidationError(error.what());
  }
  return options;
}

void run_verify(const VerifyArguments& arguments) {
  const VerifyOptions options = options_of(arguments);
  const Launch launch;
  VerifyVerdict verdict;
  try {
    const auto world = launch.size() == 1 ? make_self_communicator() : make_mpi_communicator({});
    verdict = verify(options, {.world = *world, .machine = launch.machine()},
                     [](const std::string& line) { fmt::print("{}\n", line); });
  } catch (const std::exception& error) {
    std::fflush(stdout);
    launch.abort(fmt::format("error: {}\nNOT verified: a check could not be made", error.what()));
  }
  if (launch.rank() == 0) fmt::print("{}\n", verdict.last_line);
  if (verdict.outcome != VerifyOutcome::kVerified) throw CLI::RuntimeError(static_cast<int>(verdict.outcome));
}

void add_replay_options(CLI::App& command, VerifyArguments& arguments) {
  VerifyOptions& options = arguments.options;
  command.add_option("--replay", arguments.replay,
                     "train steps A+1 to B again, from the state of step A: A:B; widened to the nearest steps whose "
                     "state root the ledger holds");
  command.add_option("--layout", options.layout, "keys of [layout] to replay under: pipeline=2,tensor=2");
  command.add_option("--against", arguments.against,
                     "run side by side with another layout (or kernels=reference) and find what differs first");
  auto* nonce = command.add_option("--challenge", options.nonce,
                                   "replay the segments that this nonce draws, one of the early steps, the three with "
                                   "the largest moves and the last one; and check every state that is there");
  nonce->check([](const std::string& text) { return text.empty() ? "an empty nonce draws nothing" : ""; });
  auto* count =
      command.add_option("--count", options.count, "with --challenge: steps to draw; each stands for its segment")
          ->check(CLI::PositiveNumber)
          ->needs(nonce);
  nonce->needs(count);
  command.add_option("--step", options.steps, "with --challenge: a released step, whose last segment is part of it")
      ->check(CLI::PositiveNumber)
      ->needs(nonce);
  command.add_option("--forged", options.forged, "share of forged segments whose chance to pass is told")
      ->capture_default_str();
  command.add_flag("--from-earlier", options.from_earlier,
                   "where the state at the beginning of a segment is not there, replay from an older one that is");
  command.add_option("--max-hours", options.max_hours,
                     "most that all replays together may take, by this machine's clock; what does not fit is left");
}

}  // namespace

void add_verify_command(CLI::App& app) {
  auto arguments = std::make_shared<VerifyArguments>();
  VerifyOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("verify", "check a run: ledger, contract, step 0, data, pieces of its training");
  command->footer(
      "Exit status: 0 verified (all that was asked for), 1 NOT verified, 2 partly verified, above 100 a "
      "mistake in the command line.");
  command->add_option("run", options.run, "run folder")->required();
  add_signature_options(*command, options.signatures);
  command->add_flag("--genesis", options.genesis, "regenerate step 0 from the seed");
  command->add_flag("--data", options.data, "check batches of sampled steps, and every document of the token stores");
  command->add_option("--samples", options.samples, "steps that --data samples")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--store", options.stores, "where a token store of the run is on this machine: NAME=PATH");
  add_replay_options(*command, *arguments);
  command->add_option("--require", options.require,
                      fmt::format("checks that must be proved, or the run is NOT verified: some of {}",
                                  fmt::join(VerifyReport::names(), ",")));
  command->callback([arguments] { run_verify(*arguments); });
}

}  // namespace baekji
