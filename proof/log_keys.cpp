#include "proof/log_keys.h"

#include <algorithm>
#include <charconv>

#include "core/base64.h"
#include "core/error.h"
#include "core/file_system.h"
#include "proof/note_file.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostHandOvers = 9999;  // four digits
constexpr std::size_t kRevocationDigits = 8;

std::string bytes_of(const Ed25519PublicKey& key) {
  return {key.bytes.begin(), key.bytes.end()};
}

std::string first_line(std::string_view name, const Digest& contract) {
  return fmt::format("{}/{}\n", name, to_hex(contract));
}

[[noreturn]] void fail_text(std::string_view what, std::string_view text, std::string_view place) {
  throw Error(fmt::format("not {}", what)).values("the lines of docs/formats/log.md", text.substr(0, 200)).at(place);
}

// What reads a line gives nonsense for nonsense: the text that comes of it again is then another one.
Digest digest_in(std::string_view text) {
  Digest digest{};
  if (text.size() != 2 * digest.size()) return digest;
  try {
    return parse_digest(text);
  } catch (const Error&) {
    return digest;
  }
}

Digest contract_in(std::string_view line, std::string_view name) {
  return line.size() > name.size() ? digest_in(line.substr(name.size() + 1)) : Digest{};
}

Ed25519PublicKey key_in(std::string_view text) {
  Ed25519PublicKey key;
  const auto bytes = decode_base64(text);
  if (bytes && bytes->size() == key.bytes.size())
    std::transform(bytes->begin(), bytes->end(), key.bytes.begin(),
                   [](char c) { return static_cast<std::uint8_t>(c); });
  return key;
}

std::int64_t size_in(std::string_view text) {
  std::int64_t size = -1;
  std::from_chars(text.data(), text.data() + text.size(), size);
  return size;
}

// A key that a note names is no reason to believe it: its signature must stand there.
void require_both(const SignedNote& note, const HandOver& hand_over, std::string_view place) {
  verify_note(note, kHandOverName, hand_over.from, place);
  verify_note(note, kHandOverName, hand_over.to, place);
}

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::vector<std::string> names_in(const fs::path& folder) {
  FileSystem& files = posix_file_system();
  std::vector<std::string> names;
  if (!files.exists(folder)) return names;
  for (std::string& name : files.list(folder)) {
    if (!name.ends_with(kUnfinishedNote)) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

std::string opening_text(const LogOpening& opening) {
  std::string text = first_line(kOpeningName, opening.contract) + encode_base64(bytes_of(opening.key)) + "\n";
  for (const Digest& kernel_set : opening.kernel_sets) text += "kernel_set " + to_hex(kernel_set) + "\n";
  return text;
}

LogOpening parse_opening(std::string_view text, std::string_view place) {
  constexpr std::string_view kKernelSet = "kernel_set ";
  const std::vector<std::string_view> lines = note_lines(text);
  if (lines.size() < 3) fail_text("the opening of a log", text, place);
  LogOpening opening{.contract = contract_in(lines[0], kOpeningName), .key = key_in(lines[1]), .kernel_sets = {}};
  for (std::size_t i = 2; i < lines.size(); ++i)
    opening.kernel_sets.push_back(digest_in(lines[i].substr(std::min(kKernelSet.size(), lines[i].size()))));
  const auto& sets = opening.kernel_sets;
  const bool ascending = std::adjacent_find(sets.begin(), sets.end(), std::greater_equal<>()) == sets.end();
  if (!ascending || opening_text(opening) != text) fail_text("the opening of a log", text, place);
  return opening;
}

std::string hand_over_text(const HandOver& h) {
  return fmt::format("{}{}\n{}\n{}\n", first_line(kHandOverName, h.contract), encode_base64(bytes_of(h.from)),
                     encode_base64(bytes_of(h.to)), h.size);
}

HandOver parse_hand_over(std::string_view text, std::string_view place) {
  const std::vector<std::string_view> lines = note_lines(text);
  if (lines.size() != 4) fail_text("a hand-over of keys", text, place);
  const HandOver hand_over{.contract = contract_in(lines[0], kHandOverName),
                           .from = key_in(lines[1]),
                           .to = key_in(lines[2]),
                           .size = size_in(lines[3])};
  if (hand_over.size < 1 || hand_over_text(hand_over) != text) fail_text("a hand-over of keys", text, place);
  return hand_over;
}

std::string revocation_text(const Revocation& r) {
  return fmt::format("{}{}\n{}\n", first_line(kRevocationName, r.contract), encode_base64(bytes_of(r.key)), r.size);
}

Revocation parse_revocation(std::string_view text, std::string_view place) {
  const std::vector<std::string_view> lines = note_lines(text);
  if (lines.size() != 3) fail_text("the revocation of a key", text, place);
  const Revocation revocation{
      .contract = contract_in(lines[0], kRevocationName), .key = key_in(lines[1]), .size = size_in(lines[2])};
  if (revocation.size < 0 || revocation_text(revocation) != text) fail_text("the revocation of a key", text, place);
  return revocation;
}

fs::path opening_path(const fs::path& log) {
  return log / "opening";
}

fs::path hand_over_path(const fs::path& log, std::int64_t number) {
  return log / "keys" / fmt::format("{:04}", number);
}

std::string short_name(const Ed25519PublicKey& key) {
  return to_hex(sha256(bytes_of(key))).substr(0, kRevocationDigits);
}

fs::path revocation_path(const fs::path& log, const Ed25519PublicKey& key) {
  return log / "revoked" / short_name(key);
}

bool is_key_file(std::string_view path) {
  constexpr std::string_view kKeys = "keys/", kRevoked = "revoked/";
  if (path == opening_path("").string()) return true;
  if (path.starts_with(kKeys)) {
    const std::string_view number = path.substr(kKeys.size());
    return number.size() == 4 && std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; });
  }
  return path.starts_with(kRevoked) && path.size() == kRevoked.size() + kRevocationDigits &&
         is_hex(path.substr(kRevoked.size()));
}

KeyChain KeyChain::read(const fs::path& log, const Digest& contract, std::span<const fs::path> revocations) {
  KeyChain chain;
  const std::string place = opening_path(log).string();
  if (!posix_file_system().exists(place)) {
    throw Error("the log has no opening")
        .values("log/opening, signed by its first key", "no file")
        .at(place)
        .hint("nothing says whose log it is; only the folder that it was copied from can tell");
  }
  const SignedNote note = read_note_file(place);
  chain.opening_ = parse_opening(note.text, place);
  chain.opening_digest_ = sha256(note.text);
  require_equal(to_hex(contract), to_hex(chain.opening_.contract), "the opening is of another contract", place);
  verify_note(note, kOpeningName, chain.opening_.key, place);
  chain.keys_.push_back({.key = chain.opening_.key, .from = 0, .to = {}, .until = {}});
  chain.read_hand_overs(log);
  for (const std::string& name : names_in(log / "revoked")) {
    const fs::path file = log / "revoked" / name;
    chain.take(read_note_file(file), file.string(), log);
  }
  for (const fs::path& file : revocations) chain.take(read_note_file(file), file.string(), {});
  chain.require_unrevoked_hand_overs(log.string());
  return chain;
}

void KeyChain::require_contract(const Digest& contract, std::string_view place) const {
  require_equal(to_hex(opening_.contract), to_hex(contract), "a note of the log is of another contract", place);
}

void KeyChain::read_hand_overs(const fs::path& log) {
  for (const std::string& name : names_in(log / "keys")) {
    const auto number = static_cast<std::int64_t>(keys_.size());
    const fs::path file = hand_over_path(log, number);
    const std::string place = (log / "keys" / name).string();
    require_equal(file.filename().string(), name, "hand-overs of keys are numbered without a gap", place);
    const SignedNote note = read_note_file(file);
    const HandOver hand_over = parse_hand_over(note.text, place);
    require_contract(hand_over.contract, place);
    Key& old = keys_.back();
    require_equal(short_name(old.key), short_name(hand_over.from), "a key hands over that is not in force", place);
    if (old.key != hand_over.from || find(hand_over.to)) {
      throw Error("a key cannot come back")
          .values("a key that this log never had", "key " + short_name(hand_over.to))
          .at(place);
    }
    if (hand_over.size <= old.from) {
      throw Error("a hand-over lies in the past")
          .values(fmt::format("a size above {}, where this key took over", old.from),
                  fmt::format("size {}", hand_over.size))
          .at(place);
    }
    require_both(note, hand_over, place);
    old.to = hand_over.size;
    keys_.push_back({.key = hand_over.to, .from = hand_over.size, .to = {}, .until = {}});
  }
}

// Of a later key as of the key itself: whoever took over may say what of the past counts.
void KeyChain::take(const SignedNote& note, std::string_view place, const fs::path& log) {
  const Revocation revocation = parse_revocation(note.text, place);
  require_contract(revocation.contract, place);
  const auto index = find(revocation.key);
  if (!index)
    throw Error("a revocation is of a key that this log never had")
        .values(fmt::format("one of {} keys", keys_.size()), short_name(revocation.key))
        .at(place);
  if (!log.empty())
    require_equal(revocation_path(log, revocation.key).string(), std::string(place),
                  "a revocation lies under the name of another key", place);
  bool signed_by_one = false;
  for (std::size_t i = *index; i < keys_.size(); ++i) {
    if (!names_signature(note, kRevocationName, keys_[i].key)) continue;
    verify_note(note, kRevocationName, keys_[i].key, place);
    signed_by_one = true;
  }
  if (!signed_by_one) {
    throw Error("a revocation is signed by nobody who may")
        .values("the key itself, or a later one of the log", note.signatures.front().name)
        .at(place);
  }
  Key& key = keys_[*index];
  key.until = std::min(key.until.value_or(revocation.size), revocation.size);
}

void KeyChain::require_unrevoked_hand_overs(std::string_view place) const {
  for (std::size_t i = 0; i + 1 < keys_.size(); ++i) {
    const Key& key = keys_[i];
    if (!key.until || *key.to <= *key.until) continue;
    throw Error("a key was handed over that is revoked")
        .values(fmt::format("a hand-over at size {} or before", *key.until), describe(i))
        .at(place)
        .hint("who held the key then had no right to it: what follows is signed by nobody");
  }
}

std::optional<std::size_t> KeyChain::find(const Ed25519PublicKey& key) const {
  const auto it = std::find_if(keys_.begin(), keys_.end(), [&](const Key& k) { return k.key == key; });
  if (it == keys_.end()) return std::nullopt;
  return static_cast<std::size_t>(it - keys_.begin());
}

std::size_t KeyChain::require(const Ed25519PublicKey& key, std::string_view place) const {
  if (const auto index = find(key)) return *index;
  std::vector<std::string> names;
  for (const Key& known : keys_) names.push_back(short_name(known.key));
  throw Error("the key is none of this log's")
      .values(fmt::format("one of {}", fmt::join(names, ", ")), short_name(key))
      .at(place)
      .hint("names are the beginning of SHA-256 of the public key's 32 bytes");
}

std::size_t KeyChain::signer_of(const SignedNote& checkpoint, std::string_view name, std::int64_t size,
                                std::string_view place) const {
  std::optional<std::size_t> signer;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    const Key& key = keys_[i];
    if (!names_signature(checkpoint, name, key.key)) continue;
    verify_note(checkpoint, name, key.key, place);
    const auto refuse = [&](const std::string& allowed) {
      throw Error("a checkpoint is signed by a key that may not sign it")
          .values(allowed, fmt::format("a checkpoint of size {} by {}", size, describe(i)))
          .at(place)
          .hint("a key that was replaced or revoked was used again");
    };
    if (key.until && size > *key.until) refuse(fmt::format("at most size {}, where it is revoked", *key.until));
    if (key.to && size > *key.to) refuse(fmt::format("at most size {}, where it was handed over", *key.to));
    if (size < key.from) refuse(fmt::format("at least size {}, where it took over", key.from));
    signer = i;
  }
  if (signer) return *signer;
  throw Error("the checkpoint is not signed by a key of this log")
      .values("the key in force at its size", checkpoint.signatures.front().name)
      .at(place)
      .hint("another key signed it, or it is another note; a key id is made of the name and the public key");
}

void KeyChain::require_reached(std::int64_t size, std::string_view place) const {
  if (in_force().from <= size) return;
  throw Error("a key was handed over behind the end of the log")
      .values(fmt::format("a checkpoint of size {} at least", in_force().from), fmt::format("size {}", size))
      .at(place)
      .hint("the log was longer when the key was handed over: it was cut off since");
}

std::string KeyChain::describe(std::size_t index) const {
  const Key& key = keys_.at(index);
  std::string text = fmt::format("key {} of {} ({})", index + 1, keys_.size(), short_name(key.key));
  text += key.to ? fmt::format(", handed over at size {}", *key.to) : ", in force";
  if (key.until) text += fmt::format(", revoked beyond size {}", *key.until);
  return text;
}

bool AdmissibleKernelSets::contains(const Digest& kernel_set) const {
  return std::find(digests.begin(), digests.end(), kernel_set) != digests.end();
}

AdmissibleKernelSets admissible_kernel_sets(const fs::path& log, const Digest& contract,
                                            const Digest& genesis_kernel_set,
                                            const std::optional<Ed25519PublicKey>& owner) {
  if (!owner) return {.digests = {genesis_kernel_set}, .from_opening = false};
  const KeyChain chain = KeyChain::read(log, contract);
  (void)chain.require(*owner, log.string());
  return {.digests = chain.opening().kernel_sets, .from_opening = true};
}

}  // namespace baekji
