#pragma once
// Signed notes (C2SP signed-note) and the cosignatures of witnesses (C2SP tlog-cosignature): a short text and the lines
// of those who vouch for it. The bytes are fixed by docs/formats/log.md.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "core/ed25519.h"

namespace baekji {

using KeyId = std::array<std::uint8_t, 4>;

/// What stands before a signature, so that a reader knows whose it is before trying it.
KeyId owner_key_id(std::string_view name, const Ed25519PublicKey& key);
KeyId witness_key_id(std::string_view name, const Ed25519PublicKey& key);

struct NoteSignature {
  std::string name;  ///< of the key
  KeyId key_id{};
  std::string bytes;  ///< what follows the key id: 64 of an owner, 8 + 64 of a witness
};

struct SignedNote {
  std::string text;  ///< ends in a newline
  std::vector<NoteSignature> signatures;
};

/// The bytes of the note, and back. Both throw when they are malformed: a text without its last newline, with control
/// characters or not UTF-8; no signature; a signature line of another form. `place` says where the bytes came from.
std::string write_note(const SignedNote& note);
SignedNote parse_note(std::string_view bytes, std::string_view place);

/// The lines of a note's text, without their newlines.
std::vector<std::string_view> note_lines(std::string_view text);

/// Adds the owner's signature of the text, in place of an earlier one of this key. Throws when `name` cannot be a key
/// name (it is empty, or has white space, control characters or a '+').
void sign_note(SignedNote& note, std::string_view name, const Ed25519PrivateKey& key);
/// Adds a witness's signature: that it saw the text at `time_s` (POSIX, >= 0; the caller has the clock).
void cosign_note(SignedNote& note, std::string_view name, const Ed25519PrivateKey& key, std::int64_t time_s);

/// Throws unless this owner signed the text. Signatures of other keys are passed over; one of this key that does not
/// hold is an Error whatever stands beside it.
void verify_note(const SignedNote& note, std::string_view name, const Ed25519PublicKey& key, std::string_view place);
/// The same for a witness; gives the time that it signed, the earliest of several.
std::int64_t verify_cosignature(const SignedNote& note, std::string_view name, const Ed25519PublicKey& key,
                                std::string_view place);

/// Whether a signature of this owner, or witness, stands there at all; whether it holds is for the two above.
bool names_signature(const SignedNote& note, std::string_view name, const Ed25519PublicKey& key);
bool names_cosignature(const SignedNote& note, std::string_view name, const Ed25519PublicKey& key);

}  // namespace baekji
