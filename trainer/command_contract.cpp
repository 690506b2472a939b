#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/ed25519.h"
#include "core/file_system.h"
#include "core/thread_pool.h"
#include "core/untrusted_file.h"
#include "kernels/kernels.h"
#include "proof/beacon.h"
#include "proof/contract.h"
#include "proof/kernel_set.h"
#include "proof/signed_note.h"
#include "trainer/commands.h"
#include "trainer/rank_kernels.h"
#include "trainer/run_inputs.h"

namespace baekji {
namespace {

struct ContractArguments {
  std::string experiment;
  std::vector<std::string> overrides;
  std::string key;     // PEM file of a private key
  std::string note;    // to write, signed
  std::string cosign;  // note to add a witness's signature to
  std::string name;    // of the witness
};

void write_note_file(const std::string& path, const SignedNote& note) {
  posix_file_system().write(path, write_note(note));
  fmt::print("note        {}, {} signatures\n", path, note.signatures.size());
}

// A witness needs no experiment: it vouches for having seen the digest.
void cosign(const ContractArguments& a) {
  SignedNote note = parse_note(read_untrusted(a.cosign, kMostNoteBytes), a.cosign);
  fmt::print("contract    {}\n", to_hex(contract_of_note(note, a.cosign)));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  cosign_note(note, a.name, Ed25519PrivateKey::read(a.key),
              std::chrono::duration_cast<std::chrono::seconds>(now).count());
  write_note_file(a.cosign, note);
}

void print_contract(const ContractArguments& a) {
  const Experiment e = load_experiment(a.experiment, a.overrides);
  const ContractInputs inputs = open_contract(e);
  ThreadPool pool(1);
  const KernelSet kernels = kernel_set_of(*make_kernels(e.layout, pool, {}));
  fmt::print("{}\n\ncontract    {}\nkernel set  {}\n            {}\n", inputs.contract, to_hex(inputs.digest),
             to_hex(kernel_set_digest(kernels)), canonical_json(to_json_value(kernels)));
  const IdentityConfig& id = e.identity;
  if (id.beacon.empty())
    fmt::print("seed        {} (chosen: not proved)\n", id.seed);
  else
    fmt::print("seed        from {} round {}, which comes at POSIX time {}\n", id.beacon, id.beacon_round,
               beacon_time_s(id.beacon, id.beacon_round));
  if (a.note.empty()) return;
  SignedNote note{.text = contract_note_text(inputs.digest), .signatures = {}};
  sign_note(note, kContractNoteName, Ed25519PrivateKey::read(a.key));
  write_note_file(a.note, note);
}

}  // namespace

void add_contract_command(CLI::App& app) {
  auto arguments = std::make_shared<ContractArguments>();
  ContractArguments& a = *arguments;
  CLI::App* command = app.add_subcommand("contract", "print, sign or witness what decides the bits of an experiment");
  command->add_option("experiment", a.experiment, "experiment file (TOML)");
  command->add_option("--set", a.overrides, "override a key: section.key=value")->allow_extra_args(false);
  auto* key = command->add_option("--key", a.key, "PEM file of the owner's (or the witness's) private Ed25519 key");
  auto* note = command->add_option("--note", a.note, "write a note of the contract's digest, signed with --key");
  auto* name = command->add_option("--name", a.name, "with --cosign: the name of the witness");
  auto* witness = command->add_option("--cosign", a.cosign, "add a witness's signature, with the time, to this note");
  note->needs(key);
  witness->needs(key)->needs(name)->excludes(note);
  name->needs(witness);
  command->callback([arguments] {
    if (arguments->experiment.empty() == arguments->cosign.empty())
      throw CLI::ValidationError("contract", "give an experiment file, or --cosign NOTE");
    arguments->cosign.empty() ? print_contract(*arguments) : cosign(*arguments);
  });
}

}  // namespace baekji
