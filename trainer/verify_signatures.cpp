#include "trainer/verify_signatures.h"

#include <nlohmann/json.hpp>

#include "core/file_system.h"
#include "proof/beacon.h"
#include "proof/contract.h"
#include "proof/log.h"
#include "proof/signed_note.h"

namespace baekji {
namespace {

std::vector<Witness> read_witnesses(const std::vector<std::string>& texts) {
  std::vector<Witness> witnesses;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos)
      throw Error("not a witness").values("NAME=PEM file of its public key", text).at("--witness");
    witnesses.push_back({.name = text.substr(0, equals), .key = read_public_key(text.substr(equals + 1))});
  }
  return witnesses;
}

// A check that throws what is wrong, as a line.
template <class Check>
void attempt(std::string_view name, VerifyReport& report, const Check& check) {
  try {
    report.pass(name, check());
  } catch (const Error& error) {
    report.fail(name, error.what());
  }
}

// Why the seed is not proved; empty when it is.
std::string why_not_proved(const VerifiedRun& run, const Ed25519PublicKey& owner,
                           const std::vector<Witness>& witnesses) {
  const auto contract = nlohmann::json::parse(run.contract);
  if (!contract.contains("beacon")) return "the contract names the seed itself";
  const std::string place = run.folder.contract_note().string();
  if (!posix_file_system().exists(run.folder.contract_note())) return "the run has no contract note";
  const SignedNote note = parse_note(posix_file_system().read(run.folder.contract_note()), place);
  if (contract_of_note(note, place) != run.ledger.genesis().contract) return "the contract note is of another contract";
  verify_note(note, kContractNoteName, owner, place);
  if (witnesses.empty()) return "no witness is given";
  const std::int64_t round_s =
      beacon_time_s(contract["beacon"]["name"].get<std::string>(), contract["beacon"]["round"].get<std::int64_t>());
  std::string why;
  for (const Witness& witness : witnesses) {
    const std::int64_t signed_s = verify_cosignature(note, witness.name, witness.key, place);
    if (signed_s < round_s) return {};
    why = fmt::format("witness {} signed at {}, the round came at {}", witness.name, signed_s, round_s);
  }
  return why;
}

}  // namespace

void verify_signatures(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report) {
  const bool has_log = posix_file_system().exists(log_checkpoint_path(run.folder.log()));
  if (options.public_key.empty()) {
    if (has_log) report.note("log", "not checked: --key names the owner's public key");
    if (!options.witnesses.empty() || !options.witnessed.empty())
      throw Error("witnesses vouch for what the owner signed").values("--key", "nothing").at("--witness, --witnessed");
    return;
  }
  const Ed25519PublicKey owner = read_public_key(options.public_key);
  const std::vector<Witness> witnesses = read_witnesses(options.witnesses);
  attempt("log", report, [&] {
    if (!has_log) throw Error("the run has no log").values("log/checkpoint", "none").at(run.folder.root.string());
    const LogReport log = verify_log(run.folder.log(), run.folder.ledger(), owner);
    if (log.checkpoint.origin != log_origin(run.ledger.genesis().contract))
      throw Error("the log is of another contract")
          .values(log_origin(run.ledger.genesis().contract), log.checkpoint.origin);
    return fmt::format("signed for {} of {} records; {} tiles and {} entry files", log.checkpoint.head.size,
                       log.ledger_records, log.tile_files, log.entry_files);
  });
  if (!options.witnessed.empty()) {
    attempt("witnessed", report, [&] {
      const WitnessedCheckpoint kept = verify_checkpoint(options.witnessed, run.folder.ledger(), owner, witnesses);
      return fmt::format("the first {} records are those that were kept, by {} witnesses", kept.checkpoint.head.size,
                         kept.times_s.size());
    });
  }
  try {
    const std::string why = why_not_proved(run, owner, witnesses);
    if (why.empty())
      report.pass("seed", "proved: a witness signed the contract before the beacon's round");
    else
      report.note("seed", "not proved: " + why);
  } catch (const Error& error) {
    report.fail("seed", error.what());
  }
}

}  // namespace baekji
