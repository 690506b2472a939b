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
#include "proof/contract_note.h"
#include "proof/kernel_set.h"
#include "proof/note_file.h"
#include "proof/signed_note.h"
#include "trainer/commands.h"
#include "trainer/folder_lock.h"
#include "trainer/rank_kernels.h"
#include "trainer/run_inputs.h"

namespace baekji {
namespace {

struct ContractArguments {
  std::string experiment;
  std::vector<std::string> overrides;
  std::string key;            // PEM file of a private key
  std::string note;           // to write, signed
  std::string note_name;      // under which a witness serves one contract for a round
  std::string cosign;         // note to add a witness's signature to
  std::string contract;       // of that note: contract.json
  std::string name;           // of the witness
  std::string register_file;  // of the witness: what it signed
  std::string list;           // register to list
  std::string output;         // the list
};

void write_note_file(const std::string& path, const SignedNote& note) {
  write_file_whole(path, write_note(note), posix_file_system());
  fmt::print("note        {}, {} signatures\n", path, note.signatures.size());
}

std::int64_t now_s() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

// One process at a time looks into a register and signs by it.
FolderLock locked(const std::filesystem::path& register_file) {
  const std::filesystem::path folder = register_file.parent_path();
  return FolderLock(folder.empty() ? "." : folder);
}

// A witness needs no experiment: it vouches for having seen this contract, and no other for the round under this name.
void cosign(const ContractArguments& a) {
  const Ed25519PrivateKey key = Ed25519PrivateKey::read(a.key);
  SignedNote note = read_note_file(a.cosign);
  const ContractNote said = parse_contract_note(note, a.cosign);
  const ContractNote wanted = contract_note_of(read_untrusted(a.contract, kMostContractBytes), said.name);
  require_equal(contract_note_text(wanted), note.text, "the note does not say what the contract says", a.cosign);
  const FolderLock lock = locked(a.register_file);
  const std::int64_t time_s = now_s();
  cosign_note(note, a.name, key, time_s);
  // The register first: what was signed and not listed would be a lie.
  register_note(a.register_file, {.note = said, .time_s = time_s});
  fmt::print("contract    {}\nname        {}\nseed        {}\n", to_hex(said.contract), said.name, said.seed);
  write_note_file(a.cosign, note);
}

void list_register(const ContractArguments& a) {
  const Ed25519PrivateKey key = Ed25519PrivateKey::read(a.key);
  if (!posix_file_system().exists(a.list))
    throw Error("there is no register").values("the file of --register", "no file").at(a.list);
  const FolderLock lock = locked(a.list);
  const std::vector<RegisterEntry> entries = read_register(a.list);
  SignedNote note{.text = register_list_text(entries), .signatures = {}};
  cosign_note(note, a.name, key, now_s());
  fmt::print("register    {} entries\n", entries.size());
  write_note_file(a.output, note);
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
  const std::string name = id.consortium.empty() ? id.name : id.consortium + "/" + id.name;
  const ContractNote said = contract_note_of(inputs.contract, a.note_name.empty() ? name : a.note_name);
  SignedNote note{.text = contract_note_text(said), .signatures = {}};
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
  auto* note_name = command->add_option("--note-name", a.note_name, "with --note: another name than that of the file");
  auto* name = command->add_option("--name", a.name, "the name of the witness");
  auto* witness = command->add_option("--cosign", a.cosign, "add a witness's signature, with the time, to this note");
  auto* contract =
      command->add_option("--contract", a.contract, "with --cosign: the contract of the note, contract.json");
  auto* entries = command->add_option("--register", a.register_file,
                                      "with --cosign: the witness's own file of what it signed (made when missing)");
  auto* list = command->add_option("--list-register", a.list, "sign a list of what stands in this register");
  auto* output = command->add_option("--output", a.output, "with --list-register: the list to write");
  note->needs(key);
  note_name->needs(note);
  witness->needs(key)->needs(name)->needs(contract)->needs(entries)->excludes(note);
  list->needs(key)->needs(name)->needs(output)->excludes(note)->excludes(witness);
  contract->needs(witness);
  entries->needs(witness);
  output->needs(list);
  command->callback([arguments] {
    const ContractArguments& given = *arguments;
    const int what = (given.experiment.empty() ? 0 : 1) + (given.cosign.empty() ? 0 : 1) + (given.list.empty() ? 0 : 1);
    if (what != 1)
      throw CLI::ValidationError("contract", "give an experiment file, --cosign NOTE or --list-register FILE");
    if (!given.cosign.empty())
      cosign(given);
    else if (!given.list.empty())
      list_register(given);
    else
      print_contract(given);
  });
}

}  // namespace baekji
