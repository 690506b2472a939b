#include "trainer/verify_signatures.h"

#include <nlohmann/json.hpp>

#include "core/file_system.h"
#include "core/untrusted_file.h"
#include "proof/attestation.h"
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
  const SignedNote note = parse_note(read_untrusted(run.folder.contract_note(), kMostNoteBytes), place);
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

// What a statement of a run must say of it, by its type.
std::string check_statement(const VerifiedRun& run, const nlohmann::json& statement, const std::string& place) {
  const std::string type = statement.value("predicateType", "");
  const nlohmann::json& predicate = statement.at("predicate");
  const auto digest = [&] { return statement.at("subject").at(0).at("digest").at("sha256").get<std::string>(); };
  const std::string contract = to_hex(run.ledger.genesis().contract);
  if (type == kContractPredicate) {
    require_equal(contract, digest(), "the statement is of another contract", place);
    return "contract " + contract;
  }
  require_equal(contract, predicate.at("contract").get<std::string>(), "the statement is of another contract", place);
  if (type == kChainPredicate) {
    const auto records = predicate.at("records").get<std::int64_t>();
    require_equal(run.ledger.head_after(records), digest(), "the ledger has another line there", place);
    return fmt::format("chain of {} records", records);
  }
  if (type != kReleasePredicate)
    throw Error("a statement of another kind").values("contract, chain or release", type).at(place);
  const auto step = predicate.at("step").get<std::int64_t>();
  const std::optional<Digest> root = run.ledger.state_root_of(step);
  require_equal(root ? to_hex(*root) : "no root", predicate.at("state_root").get<std::string>(),
                "the ledger has another state of the released step", place);
  return fmt::format("release of {} files from step {}", statement.at("subject").size(), step);
}

void verify_attestations(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report) {
  if (options.attestations.empty()) return;
  const EcdsaPublicKey key = EcdsaPublicKey::load(options.attestation_key);
  int found = 0;
  for (const char* name : {"contract.dsse.json", "chain.dsse.json", "release.dsse.json"}) {
    const std::string place = (options.attestations / name).string();
    if (!posix_file_system().exists(place)) continue;
    ++found;
    attempt("attested", report, [&] {
      try {
        return check_statement(run, open_dsse(read_untrusted(place, kMostStatementBytes), key, place), place);
      } catch (const nlohmann::json::exception& error) {
        throw Error("a statement lacks a member").values("docs/formats/attestation.md", error.what()).at(place);
      }
    });
  }
  if (found == 0)
    throw Error("no attestations")
        .values("contract.dsse.json, chain.dsse.json...", "none")
        .at(options.attestations.string());
}

}  // namespace

void verify_signatures(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report) {
  verify_attestations(run, options, report);
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
