#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>

#include "core/ed25519.h"
#include "core/file_system.h"
#include "core/untrusted_file.h"
#include "proof/ledger.h"
#include "proof/log.h"
#include "proof/log_keys.h"
#include "proof/note_file.h"
#include "trainer/commands.h"
#include "trainer/folder_lock.h"
#include "trainer/ledger_rules.h"
#include "trainer/run_history.h"
#include "trainer/saved_model.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

struct LogArguments {
  std::string run;
  std::string hand_over;  // PEM file of the new private key
  std::string key;        // PEM file of the one in force
  std::string revoke;     // PEM file of the key to revoke: private, or with `by` its public half
  std::string by;         // PEM file of a later private key
  std::optional<std::int64_t> size;
};

// A log whose keys and checkpoint hold together, with nobody training beside it.
struct OpenLog {
  explicit OpenLog(const std::string& run)
      : folder(open_run_folder(run)),
        lock(folder.root),
        contract(open_run_ledger(folder).genesis().contract),
        chain(KeyChain::read(folder.log(), contract)) {
    const fs::path file = log_checkpoint_path(folder.log());
    check_published(folder.log(), folder.ledger(), contract);
    const SignedNote note = read_note_file(file);
    published = parse_checkpoint_text(note.text, file.string()).head.size;
    (void)chain.signer_of(note, log_origin(contract), published, file.string());
    chain.require_reached(published, file.string());
  }

  RunFolder folder;
  FolderLock lock;
  Digest contract{};
  KeyChain chain;
  std::int64_t published = 0;
};

void write_and_check(const OpenLog& log, const fs::path& path, const SignedNote& note) {
  FileSystem& files = posix_file_system();
  const std::string before = files.exists(path) ? read_untrusted(path, kMostNoteBytes) : std::string();
  write_file_whole(path, write_note(note), files);
  try {
    (void)KeyChain::read(log.folder.log(), log.contract);
  } catch (const Error&) {
    // What no verifier would take must not stand there.
    before.empty() ? files.remove_all(path) : write_file_whole(path, before, files);
    throw;
  }
  fmt::print("{}\n{}", path.string(), note.text);
}

void hand_over(const LogArguments& a) {
  const OpenLog log(a.run);
  const Ed25519PrivateKey old_key = Ed25519PrivateKey::read(a.key);
  const Ed25519PrivateKey new_key = Ed25519PrivateKey::read(a.hand_over);
  const KeyChain::Key& in_force = log.chain.in_force();
  if (in_force.key != old_key.public_key()) {
    throw Error("only the key in force can hand over")
        .values(log.chain.describe(log.chain.keys().size() - 1), "key " + short_name(old_key.public_key()))
        .at(a.key);
  }
  if (in_force.from == log.published) {
    throw Error("a key that signed nothing cannot hand over")
        .values(fmt::format("a log longer than {}, where it took over", in_force.from),
                fmt::format("{}", log.published))
        .at(a.run)
        .hint("go on with the run first");
  }
  const HandOver hand_over{
      .contract = log.contract, .from = old_key.public_key(), .to = new_key.public_key(), .size = log.published};
  SignedNote note{.text = hand_over_text(hand_over), .signatures = {}};
  sign_note(note, kHandOverName, old_key);
  sign_note(note, kHandOverName, new_key);
  write_and_check(log, hand_over_path(log.folder.log(), static_cast<std::int64_t>(log.chain.keys().size())), note);
  fmt::print("the log goes on under key {} from size {} on: set run.signing_key, and publish its public half\n",
             short_name(new_key.public_key()), log.published);
}

// A key that is lost is known by its public half.
Ed25519PublicKey key_to_revoke(const LogArguments& a) {
  if (a.by.empty()) return Ed25519PrivateKey::read(a.revoke).public_key();
  const bool is_private = read_untrusted(a.revoke, kMostKeyBytes).find("PRIVATE KEY-----") != std::string::npos;
  return is_private ? Ed25519PrivateKey::read(a.revoke).public_key() : read_public_key(a.revoke);
}

void revoke(const LogArguments& a) {
  const OpenLog log(a.run);
  const Ed25519PublicKey key = key_to_revoke(a);
  const Ed25519PrivateKey signer = Ed25519PrivateKey::read(a.by.empty() ? a.revoke : a.by);
  const std::size_t index = log.chain.require(key, a.revoke);
  const KeyChain::Key& known = log.chain.keys()[index];
  const std::int64_t size = a.size.value_or(known.to.value_or(log.published));
  const std::int64_t needed = known.to.value_or(log.published);
  if (size < needed) {
    throw Error("the log needs what would be revoked")
        .values(fmt::format("at least size {}, which stands on this key", needed), fmt::format("size {}", size))
        .at(a.run)
        .hint(
            "what was signed cannot be signed again by another key: to give the log up, say so where it is published");
  }
  if (known.until && size >= *known.until) {
    throw Error("the key is revoked already")
        .values(fmt::format("a size below {}", *known.until), fmt::format("size {}", size))
        .at(revocation_path(log.folder.log(), key).string());
  }
  SignedNote note{.text = revocation_text({.contract = log.contract, .key = key, .size = size}), .signatures = {}};
  sign_note(note, kRevocationName, signer);
  write_and_check(log, revocation_path(log.folder.log(), key), note);
  fmt::print("publish this file too: a verifier takes it by --revocation\n");
}

}  // namespace

void add_log_command(CLI::App& app) {
  auto a = std::make_shared<LogArguments>();
  CLI::App* command = app.add_subcommand("log", "the keys of a run's log: hand it over to a new one, or revoke one");
  command->add_option("run", a->run, "run folder; nobody may be training in it")->required();
  auto* hand = command->add_option("--hand-over", a->hand_over, "PEM file of the new private key (Ed25519)");
  auto* key = command->add_option("--key", a->key, "with --hand-over: PEM file of the private key in force");
  auto* revoked = command->add_option("--revoke", a->revoke,
                                      "PEM file of the private key to revoke; with --by its public half will do");
  auto* by = command->add_option("--by", a->by, "with --revoke: PEM file of a later private key, which signs");
  auto* size = command->add_option("--size", a->size, "with --revoke: what the key signed beyond this does not count");
  hand->needs(key)->excludes(revoked);
  key->needs(hand);
  by->needs(revoked);
  size->needs(revoked);
  command->callback([a] {
    if (a->hand_over.empty() == a->revoke.empty())
      throw CLI::ValidationError("log", "give --hand-over NEW.pem --key OLD.pem, or --revoke KEY.pem");
    a->revoke.empty() ? hand_over(*a) : revoke(*a);
  });
}

}  // namespace baekji
