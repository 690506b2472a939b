#include <fmt/format.h>

#include <memory>
#include <string>

#include "parallel/communicator_mpi.h"
#include "parallel/launch.h"
#include "trainer/commands.h"
#include "trainer/option_range.h"
#include "trainer/verify.h"

namespace baekji {
namespace {

struct VerifyArguments {
  VerifyOptions options;
  std::string replay;
  std::string against;
};

// "pipeline=2,tensor=2" as the two keys; commas inside brackets belong to a list.
std::vector<std::string> split_keys(const std::string& text) {
  std::vector<std::string> keys;
  int depth = 0;
  std::string key;
  for (const char c : text) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c != ',' || depth > 0) {
      key.push_back(c);
      continue;
    }
    keys.push_back(std::move(key));
    key.clear();
  }
  if (!key.empty()) keys.push_back(std::move(key));
  return keys;
}

void run_verify(const VerifyArguments& arguments) {
  VerifyOptions options = arguments.options;
  if (!arguments.replay.empty()) options.replay = parse_range(arguments.replay, "--replay");
  for (std::string& key : split_keys(arguments.against)) {
    if (key == "kernels=reference")
      options.against_reference = true;
    else
      options.against.push_back(std::move(key));
  }
  std::vector<std::string> layout;
  for (const std::string& text : options.layout) {
    for (std::string& key : split_keys(text)) layout.push_back(std::move(key));
  }
  options.layout = std::move(layout);
  const Launch launch;
  try {
    const auto world = launch.size() == 1 ? make_self_communicator() : make_mpi_communicator({});
    const bool passed = verify(options, {.world = *world, .machine = launch.machine()},
                               [](const std::string& line) { fmt::print("{}\n", line); });
    if (launch.rank() == 0) fmt::print("{}\n", passed ? "verified" : "NOT verified");
    if (!passed) throw CLI::RuntimeError(1);
  } catch (const CLI::Error&) {
    throw;
  } catch (const std::exception& error) {
    launch.abort(std::string("error: ") + error.what());
  }
}

}  // namespace

void add_verify_command(CLI::App& app) {
  auto arguments = std::make_shared<VerifyArguments>();
  VerifyOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("verify", "check a run: ledger, contract, step 0, data, pieces of its training");
  command->add_option("run", options.run, "run folder")->required();
  add_signature_options(*command, options.signatures);
  command->add_flag("--genesis", options.genesis, "regenerate step 0 from the seed");
  command->add_flag("--data", options.data, "check batches of sampled steps, and every document of the token stores");
  command->add_option("--samples", options.samples, "steps that --data samples")->capture_default_str();
  command->add_option("--replay", arguments->replay, "train again from the state of step A to step B: A:B");
  command->add_option("--layout", options.layout, "keys of [layout] to replay under: pipeline=2,tensor=2");
  command->add_option("--against", arguments->against,
                      "run side by side with another layout (or kernels=reference) and find what differs first");
  auto* nonce = command->add_option("--challenge", options.nonce, "replay segments drawn from this nonce");
  auto* count = command->add_option("--count", options.count, "with --challenge: segments to draw")->needs(nonce);
  nonce->needs(count);
  command->add_option("--forged", options.forged, "share of forged segments whose chance to pass is told")
      ->capture_default_str();
  command->add_option("--max-hours", options.max_hours, "refuse a replay that would take longer (0: no limit)");
  command->callback([arguments] { run_verify(*arguments); });
}

}  // namespace baekji
