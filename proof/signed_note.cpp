#include "proof/signed_note.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base64.h"
#include "core/error.h"

namespace baekji {
namespace {

constexpr std::string_view kSignatureMark = "\xE2\x80\x94 ";  // U+2014 and a space
constexpr char kOwnerAlgorithm = 0x01;
constexpr char kWitnessAlgorithm = 0x04;
constexpr std::size_t kTimeBytes = 8;

// Bytes go into strings and out again one by one: no cast says more than it does.
std::string characters(auto begin, auto end) {
  std::string text;
  for (auto it = begin; it != end; ++it) text.push_back(static_cast<char>(*it));
  return text;
}

template <class Bytes>
Bytes octets_of(std::string_view text) {
  Bytes bytes{};
  std::transform(text.begin(), text.begin() + std::ssize(bytes), bytes.begin(),
                 [](char c) { return static_cast<std::uint8_t>(c); });
  return bytes;
}

std::string show_id(const KeyId& id) {
  return fmt::format("{:02x}", fmt::join(id, ""));
}

KeyId key_id(std::string_view name, char algorithm, const Ed25519PublicKey& key) {
  const char separator[] = {'\n', algorithm};
  const Digest digest = Sha256()
                            .add(name)
                            .add(std::string_view(separator, 2))
                            .add(characters(key.bytes.begin(), key.bytes.end()))
                            .finish();
  KeyId id{};
  std::copy_n(digest.begin(), id.size(), id.begin());
  return id;
}

bool is_utf8(std::string_view text) {
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
}

bool is_note_text(std::string_view text) {
  return text.ends_with('\n') && is_utf8(text) &&
         std::none_of(text.begin(), text.end(), [](char c) { return is_control(c) && c != '\n'; });
}

// Of white space only ASCII's is looked for: our own names have no other, and a foreign one is compared by its bytes.
bool is_key_name(std::string_view name) {
  return !name.empty() && is_utf8(name) &&
         std::none_of(name.begin(), name.end(), [](char c) { return is_control(c) || c == ' ' || c == '+'; });
}

void require_text(std::string_view text, std::string_view place) {
  if (!is_note_text(text)) {
    throw Error("not the text of a signed note")
        .values("lines of UTF-8, each with its newline", fmt::format("{} bytes that are not", text.size()))
        .at(place);
  }
}

[[noreturn]] void fail_line(std::string_view line, std::string_view place) {
  throw Error("not a signature line of a note")
      .values("U+2014, a space, the key's name, a space, base64 of key id and signature", line.substr(0, 120))
      .at(place);
}

NoteSignature parse_signature(std::string_view line, std::string_view place) {
  if (!line.starts_with(kSignatureMark)) fail_line(line, place);
  const std::string_view rest = line.substr(kSignatureMark.size());
  const std::size_t space = rest.find(' ');
  if (space == std::string_view::npos || !is_key_name(rest.substr(0, space))) fail_line(line, place);
  const auto bytes = decode_base64(rest.substr(space + 1));
  if (!bytes || bytes->size() <= KeyId{}.size()) fail_line(line, place);
  return {.name = std::string(rest.substr(0, space)),
          .key_id = octets_of<KeyId>(*bytes),
          .bytes = bytes->substr(KeyId{}.size())};
}

void add_signature(SignedNote& note, NoteSignature signature) {
  const auto same = [&](const NoteSignature& s) { return s.name == signature.name && s.key_id == signature.key_id; };
  note.signatures.erase(std::remove_if(note.signatures.begin(), note.signatures.end(), same), note.signatures.end());
  note.signatures.push_back(std::move(signature));
}

void require_name(std::string_view name) {
  if (!is_key_name(name)) {
    throw Error("not a key name")
        .values("text without white space, control characters or '+'", fmt::format("'{}'", name));
  }
}

std::string big_endian(std::int64_t value) {
  std::string bytes;
  append_little_endian(bytes, static_cast<std::uint64_t>(value));
  return {bytes.rbegin(), bytes.rend()};
}

std::uint64_t from_big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

std::string witnessed_message(std::string_view text, std::uint64_t time_s) {
  return fmt::format("cosignature/v1\ntime {}\n{}", time_s, text);
}

[[noreturn]] void fail_signature(std::string_view name, const KeyId& id, std::string_view place) {
  throw Error("a signature of the note does not hold")
      .values(fmt::format("the signature of {} (key {}) over this text", name, show_id(id)), "another")
      .at(place)
      .hint("the text or the signature was changed after it was signed");
}

std::vector<const NoteSignature*> signatures_of(const SignedNote& note, std::string_view name, const KeyId& id,
                                                std::string_view place) {
  std::vector<const NoteSignature*> found;
  std::vector<std::string> others;
  for (const NoteSignature& s : note.signatures) {
    if (s.name == name && s.key_id == id) found.push_back(&s);
    others.push_back(fmt::format("{} (key {})", s.name, show_id(s.key_id)));
  }
  if (found.empty()) {
    throw Error("the note is not signed by this key")
        .values(fmt::format("{} (key {})", name, show_id(id)), fmt::format("{}", fmt::join(others, ", ")))
        .at(place)
        .hint("another key signed it, or it is another note; a key id is made of the name and the public key");
  }
  return found;
}

bool stands_there(const SignedNote& note, std::string_view name, const KeyId& id) {
  return std::any_of(note.signatures.begin(), note.signatures.end(),
                     [&](const NoteSignature& s) { return s.name == name && s.key_id == id; });
}

}  // namespace

std::vector<std::string_view> note_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

KeyId owner_key_id(std::string_view name, const Ed25519PublicKey& key) {
  return key_id(name, kOwnerAlgorithm, key);
}

KeyId witness_key_id(std::string_view name, const Ed25519PublicKey& key) {
  return key_id(name, kWitnessAlgorithm, key);
}

std::string write_note(const SignedNote& note) {
  require_text(note.text, "a note to be written");
  if (note.signatures.empty()) throw Error("a note without a signature").values("at least one", "none");
  std::string bytes = note.text + "\n";
  for (const NoteSignature& s : note.signatures) {
    require_name(s.name);
    bytes += fmt::format("{}{} {}\n", kSignatureMark, s.name,
                         encode_base64(characters(s.key_id.begin(), s.key_id.end()) + s.bytes));
  }
  return bytes;
}

SignedNote parse_note(std::string_view bytes, std::string_view place) {
  // The last empty line divides: a text may hold empty lines, the signatures hold none.
  const std::size_t divide = bytes.rfind("\n\n");
  if (divide == std::string_view::npos || !bytes.ends_with('\n') || divide + 2 == bytes.size()) {
    throw Error("not a signed note")
        .values("a text, an empty line, signature lines", fmt::format("{} bytes without them", bytes.size()))
        .at(place);
  }
  SignedNote note{.text = std::string(bytes.substr(0, divide + 1)), .signatures = {}};
  require_text(note.text, place);
  for (std::size_t at = divide + 2; at < bytes.size();) {
    const std::size_t end = bytes.find('\n', at);
    note.signatures.push_back(parse_signature(bytes.substr(at, end - at), place));
    at = end + 1;
  }
  return note;
}

void sign_note(SignedNote& note, std::string_view name, const Ed25519PrivateKey& key) {
  require_name(name);
  require_text(note.text, name);
  const Ed25519Signature signature = key.sign(note.text);
  add_signature(note, {.name = std::string(name),
                       .key_id = owner_key_id(name, key.public_key()),
                       .bytes = characters(signature.begin(), signature.end())});
}

void cosign_note(SignedNote& note, std::string_view name, const Ed25519PrivateKey& key, std::int64_t time_s) {
  require_name(name);
  require_text(note.text, name);
  if (time_s < 0) throw Error("a time before 1970 cannot be signed").values(">= 0", fmt::format("{}", time_s)).at(name);
  const Ed25519Signature signature = key.sign(witnessed_message(note.text, static_cast<std::uint64_t>(time_s)));
  add_signature(note, {.name = std::string(name),
                       .key_id = witness_key_id(name, key.public_key()),
                       .bytes = big_endian(time_s) + characters(signature.begin(), signature.end())});
}

bool names_signature(const SignedNote& note, std::string_view name, const Ed25519PublicKey& key) {
  return stands_there(note, name, owner_key_id(name, key));
}

bool names_cosignature(const SignedNote& note, std::string_view name, const Ed25519PublicKey& key) {
  return stands_there(note, name, witness_key_id(name, key));
}

void verify_note(const SignedNote& note, std::string_view name, const Ed25519PublicKey& key, std::string_view place) {
  const KeyId id = owner_key_id(name, key);
  for (const NoteSignature* s : signatures_of(note, name, id, place)) {
    const bool sized = s->bytes.size() == Ed25519Signature{}.size();
    if (!sized || !signature_holds(key, note.text, octets_of<Ed25519Signature>(s->bytes)))
      fail_signature(name, id, place);
  }
}

std::int64_t verify_cosignature(const SignedNote& note, std::string_view name, const Ed25519PublicKey& key,
                                std::string_view place) {
  const KeyId id = witness_key_id(name, key);
  std::optional<std::int64_t> earliest;
  for (const NoteSignature* s : signatures_of(note, name, id, place)) {
    if (s->bytes.size() != kTimeBytes + Ed25519Signature{}.size()) fail_signature(name, id, place);
    const std::string_view bytes = s->bytes;
    const std::uint64_t time_s = from_big_endian(bytes.substr(0, kTimeBytes));
    const bool holds = signature_holds(key, witnessed_message(note.text, time_s),
                                       octets_of<Ed25519Signature>(bytes.substr(kTimeBytes)));
    if (!holds || time_s >> 63 != 0) fail_signature(name, id, place);
    earliest = std::min(earliest.value_or(static_cast<std::int64_t>(time_s)), static_cast<std::int64_t>(time_s));
  }
  return *earliest;
}

}  // namespace baekji
