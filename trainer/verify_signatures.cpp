#include "trainer/verify_signatures.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/file_system.h"
#include "proof/beacon.h"
#include "proof/contract.h"
#include "proof/contract_note.h"
#include "proof/log.h"
#include "proof/note_file.h"
#include "trainer/verify_attestations.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

struct NamedFile {
  std::string name;
  std::string file;
};

NamedFile split(const std::string& text, const char* option, std::string_view what) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
    throw Error("not a witness").values(what, text).at(option);
  return {.name = text.substr(0, equals), .file = text.substr(equals + 1)};
}

std::vector<Witness> read_witnesses(const std::vector<std::string>& texts) {
  std::vector<Witness> witnesses;
  for (const std::string& text : texts) {
    const NamedFile named = split(text, "--witness", "NAME=PEM file of its public key");
    witnesses.push_back({.name = named.name, .key = read_public_key(named.file)});
  }
  return witnesses;
}

class SignatureCheck {
 public:
  SignatureCheck(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report)
      : run_(run),
        options_(options),
        report_(report),
        trust_{.owner = read_public_key(options.public_key),
               .revocations = {options.revocations.begin(), options.revocations.end()}},
        witnesses_(read_witnesses(options.witnesses)),
        signed_(witnesses_.size()) {
    for (const std::string& text : options.witness_lists) {
      NamedFile list = split(text, "--witness-list", "NAME=LIST");
      const auto same = [&](const Witness& w) { return w.name == list.name; };
      if (std::none_of(witnesses_.begin(), witnesses_.end(), same))
        throw Error("a list without its witness")
            .values("--witness " + list.name + "=PEM", "none")
            .at("--witness-list");
      lists_.push_back(std::move(list));
    }
  }

  void go() {
    attempt("log", [&] { log(); });
    if (!options_.witnessed.empty()) attempt("witnessed", [&] { kept_checkpoint(); });
    attempt("witnessed", [&] { newest_checkpoint(); });
    attempt("seed", [&] { seed(); });
    for (std::size_t i = 0; i < witnesses_.size(); ++i) {
      if (signed_[i].empty())
        report_.fail("witnessed", fmt::format("witness {} signed nothing that is here", witnesses_[i].name));
      else
        report_.note("witness", fmt::format("{} signed {}", witnesses_[i].name, fmt::join(signed_[i], ", ")));
    }
  }

 private:
  // A check that throws what is wrong, as a line.
  template <class Check>
  void attempt(std::string_view name, const Check& check) {
    try {
      check();
    } catch (const Error& error) {
      report_.fail(name, error.what());
    } catch (const nlohmann::json::exception& error) {
      report_.fail(name, error.what());
    }
  }

  void log() {
    if (!posix_file_system().exists(log_checkpoint_path(run_.folder.log())))
      throw Error("the run has no log").values("log/checkpoint", "none").at(run_.folder.root.string());
    const LogReport log = verify_log(run_.folder.log(), run_.folder.ledger(), trust_);
    keys_ = KeyChain::read(run_.folder.log(), run_.ledger.genesis().contract, trust_.revocations);
    if (log.given != log.signer) report_.note("log", "the given key is " + log.given);
    if (keys_->in_force().until)
      report_.note("log", fmt::format("the newest key is revoked beyond size {}: the log cannot go on",
                                      *keys_->in_force().until));
    const std::string text = fmt::format("signed for {} of {} records by {}; {} tiles, {} files of entries, {} of keys",
                                         log.checkpoint.head.size, log.ledger_records, log.signer, log.tile_files,
                                         log.entry_files, log.key_files);
    if (log.checkpoint.head.size == log.ledger_records)
      report_.pass("log", text);
    else
      report_.left("log", text + "; the rest is signed by nobody: the owner signs it when the run goes on or ends");
  }

  // The witnesses whose signature stands on a note and holds; each is told where.
  std::vector<std::pair<Witness, std::int64_t>> cosigners(const SignedNote& note, const std::string& what,
                                                          const std::string& place) {
    std::vector<std::pair<Witness, std::int64_t>> found;
    for (std::size_t i = 0; i < witnesses_.size(); ++i) {
      const Witness& w = witnesses_[i];
      if (!names_cosignature(note, w.name, w.key)) continue;
      const std::int64_t time_s = verify_cosignature(note, w.name, w.key, place);
      signed_[i].push_back(fmt::format("{} at {}", what, time_s));
      found.emplace_back(w, time_s);
    }
    return found;
  }

  static std::string names_of(const std::vector<std::pair<Witness, std::int64_t>>& cosigners) {
    std::vector<std::string> texts;
    for (const auto& [witness, time_s] : cosigners) texts.push_back(fmt::format("{} at {}", witness.name, time_s));
    return fmt::format("{}", fmt::join(texts, ", "));
  }

  void kept_checkpoint() {
    const WitnessedCheckpoint kept =
        verify_checkpoint(options_.witnessed, run_.folder.log(), run_.folder.ledger(), trust_);
    const std::string place = options_.witnessed.string();
    const auto by = cosigners(read_note_file(options_.witnessed), "the kept checkpoint", place);
    if (!witnesses_.empty() && by.empty())
      throw Error("no given witness signed the kept checkpoint").values("one of --witness", "none").at(place);
    report_.pass("witnessed", fmt::format("the first {} of {} records are those that were kept{}",
                                          kept.checkpoint.head.size, run_.ledger.record_count(),
                                          by.empty() ? ", by whoever gave it" : ", signed by " + names_of(by)));
  }

  // Witnesses may have signed the checkpoint in the run folder itself.
  void newest_checkpoint() {
    const fs::path file = log_checkpoint_path(run_.folder.log());
    if (!keys_ || witnesses_.empty()) return;
    const SignedNote note = read_note_file(file);
    const auto by = cosigners(note, "log/checkpoint", file.string());
    if (by.empty()) return;
    report_.pass("witnessed", fmt::format("{} records, by {}",
                                          parse_checkpoint_text(note.text, file.string()).head.size, names_of(by)));
  }

  struct ReadList {
    std::string witness;
    WitnessList list;
  };
  std::vector<ReadList> read_lists() {
    std::vector<ReadList> lists;
    for (const NamedFile& named : lists_) {
      for (std::size_t i = 0; i < witnesses_.size(); ++i) {
        if (witnesses_[i].name != named.name) continue;
        lists.push_back({named.name, read_witness_list(named.file, named.name, witnesses_[i].key)});
        signed_[i].push_back(fmt::format("its list at {}", lists.back().list.time_s));
      }
    }
    return lists;
  }

  // The note in the run folder, which must be of this contract and by a key of the owner's.
  std::optional<ContractNote> contract_note(SignedNote& note) {
    const fs::path file = run_.folder.contract_note();
    if (!posix_file_system().exists(file)) return std::nullopt;
    note = read_note_file(file);
    ContractNote said = parse_contract_note(note, file.string());
    require_equal(contract_note_text(contract_note_of(run_.contract, said.name)), note.text,
                  "the contract note is of another contract", file.string());
    const auto signs = [&](const KeyChain::Key& k) { return names_signature(note, kContractNoteName, k.key); };
    Ed25519PublicKey owner = trust_.owner;
    if (keys_) {
      const auto it = std::find_if(keys_->keys().begin(), keys_->keys().end(), signs);
      if (it != keys_->keys().end()) owner = it->key;
    }
    verify_note(note, kContractNoteName, owner, file.string());
    return said;
  }

  void not_proved(const std::string& why) {
    // Whoever gives a list asked for the proof.
    const std::string text = "not proved: " + why;
    lists_.empty() ? report_.note("seed", text) : report_.left("seed", text);
  }

  void seed() {
    SignedNote note;
    const std::optional<ContractNote> said = contract_note(note);
    const auto by = said ? cosigners(note, "the contract note", run_.folder.contract_note().string())
                         : std::vector<std::pair<Witness, std::int64_t>>{};
    const std::vector<ReadList> lists = read_lists();
    const auto contract = nlohmann::json::parse(run_.contract);
    if (!contract.contains("beacon")) return not_proved("the contract names the seed itself");
    if (!said) return not_proved("the run has no contract note");
    require_side_by_side(lists, *said);
    if (by.empty()) return not_proved("no given witness signed the contract note");
    const std::int64_t round_s =
        beacon_time_s(contract["beacon"]["name"].get<std::string>(), contract["beacon"]["round"].get<std::int64_t>());
    std::string why;
    for (const auto& [witness, signed_s] : by) {
      why = why_not_by(witness, signed_s, round_s, *said, lists);
      if (!why.empty()) continue;
      report_.pass("seed",
                   fmt::format("proved: witness {} signed this contract, and no other under the name {}, before "
                               "the beacon's round",
                               witness.name, said->name));
      return;
    }
    not_proved(why);
  }

  // Two contracts for one round are no missing proof: they are what grinding leaves.
  void require_side_by_side(const std::vector<ReadList>& lists, const ContractNote& said) {
    for (const ReadList& list : lists) {
      const RoundCount count = count_round(list.list.entries, said);
      report_.note("seed",
                   fmt::format("witness {} signed {} contracts for that round: {} under the name {}, {} under "
                               "others",
                               list.witness, count.in_all, count.of_name, said.name, count.in_all - count.of_name));
      if (count.of_name <= 1) continue;
      throw Error("a witness signed several contracts of this name for one round")
          .values("one contract", fmt::format("{}", count.of_name))
          .at(fmt::format("--witness-list {}", list.witness))
          .hint("their owner could keep the one whose seed is best");
    }
  }

  // Empty when this witness proves the seed.
  static std::string why_not_by(const Witness& witness, std::int64_t signed_s, std::int64_t round_s,
                                const ContractNote& said, const std::vector<ReadList>& lists) {
    if (signed_s >= round_s)
      return fmt::format("witness {} signed at {}, the round came at {}", witness.name, signed_s, round_s);
    std::string why = fmt::format("--witness-list {}=LIST says what else it signed, and is not given", witness.name);
    for (const ReadList& list : lists) {
      if (list.witness != witness.name) continue;
      if (list.list.time_s < round_s) {
        why = fmt::format("the list of witness {} is of {}, the round came at {}: ask for a newer one", witness.name,
                          list.list.time_s, round_s);
        continue;
      }
      const auto& entries = list.list.entries;
      if (std::any_of(entries.begin(), entries.end(),
                      [&](const RegisterEntry& e) { return e.note == said && e.time_s < round_s; }))
        return {};
      why = fmt::format("the list of witness {} does not have this contract before the round", witness.name);
    }
    return why;
  }

  const VerifiedRun& run_;
  const SignatureOptions& options_;
  VerifyReport& report_;
  LogTrust trust_;
  std::vector<Witness> witnesses_;
  std::vector<NamedFile> lists_;
  std::vector<std::vector<std::string>> signed_;  // by each witness: what
  std::optional<KeyChain> keys_;                  // of a log that holds
};

}  // namespace

void verify_signatures(const VerifiedRun& run, const SignatureOptions& options, VerifyReport& report) {
  verify_attestations(run, options, report);
  if (!options.public_key.empty()) {
    SignatureCheck(run, options, report).go();
    return;
  }
  const bool needs_owner = !options.witnesses.empty() || !options.witnessed.empty() || !options.witness_lists.empty() ||
                           !options.revocations.empty();
  if (needs_owner)
    throw Error("witnesses vouch for what the owner signed")
        .values("--key", "nothing")
        .at("--witness, --witness-list, --witnessed, --revocation");
  if (posix_file_system().exists(log_checkpoint_path(run.folder.log())))
    report.note("log", "not checked: --key names a public key of the owner's");
}

AdmissibleKernelSets admissible_kernel_sets(const VerifiedRun& run, const SignatureOptions& options) {
  std::optional<Ed25519PublicKey> owner;
  if (!options.public_key.empty()) owner = read_public_key(options.public_key);
  const GenesisRecord& genesis = run.ledger.genesis();
  return admissible_kernel_sets(run.folder.log(), genesis.contract, kernel_set_digest(genesis.kernel_set), owner);
}

}  // namespace baekji
