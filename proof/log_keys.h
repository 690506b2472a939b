#pragma once
// Who may sign a log: the note that opens it, hand-overs from one key to the next, and revocations. The bytes are fixed
// by docs/formats/log.md.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "core/ed25519.h"
#include "proof/signed_note.h"

namespace baekji {

inline constexpr std::string_view kOpeningName = "baekji/opening";
inline constexpr std::string_view kHandOverName = "baekji/key";
inline constexpr std::string_view kRevocationName = "baekji/revoked";

/// Opens a log: the first key, and the kernel sets whose work counts as proved.
struct LogOpening {
  Digest contract{};
  Ed25519PublicKey key;
  std::vector<Digest> kernel_sets;  ///< at least one, ascending, each once
};
/// `from` signed the log up to this size, `to` signs from this size on.
struct HandOver {
  Digest contract{};
  Ed25519PublicKey from;
  Ed25519PublicKey to;
  std::int64_t size = 0;
};
/// What the key signed beyond this size does not count.
struct Revocation {
  Digest contract{};
  Ed25519PublicKey key;
  std::int64_t size = 0;
};

/// The texts of the notes, and back: each reader throws unless the text has exactly this one spelling.
std::string opening_text(const LogOpening& opening);
LogOpening parse_opening(std::string_view text, std::string_view place);
std::string hand_over_text(const HandOver& hand_over);
HandOver parse_hand_over(std::string_view text, std::string_view place);
std::string revocation_text(const Revocation& revocation);
Revocation parse_revocation(std::string_view text, std::string_view place);

/// Where they lie in the folder of a log. Hand-overs are numbered from 1.
std::filesystem::path opening_path(const std::filesystem::path& log);
std::filesystem::path hand_over_path(const std::filesystem::path& log, std::int64_t number);
std::filesystem::path revocation_path(const std::filesystem::path& log, const Ed25519PublicKey& key);
/// Whether a path below the folder of a log has the form of one of these.
bool is_key_file(std::string_view path);
/// The beginning of a key's digest, for people.
std::string short_name(const Ed25519PublicKey& key);

/// The keys of a log in the order in which they sign it.
class KeyChain {
 public:
  struct Key {
    Ed25519PublicKey key;
    std::int64_t from = 0;              ///< the sizes that it signs, both ends included
    std::optional<std::int64_t> to;     ///< where it was handed over
    std::optional<std::int64_t> until;  ///< where it is revoked: nothing larger counts
  };

  /// Reads and checks all notes in the folder of a log of this contract, and `revocations` from elsewhere. Throws when
  /// one is missing, malformed, or not signed by those who must sign it, and when a hand-over needs a key beyond its
  /// revocation.
  static KeyChain read(const std::filesystem::path& log, const Digest& contract,
                       std::span<const std::filesystem::path> revocations = {});

  const LogOpening& opening() const { return opening_; }
  /// SHA-256 of the opening's text: it stands in every checkpoint.
  const Digest& opening_digest() const { return opening_digest_; }
  const std::vector<Key>& keys() const { return keys_; }
  const Key& in_force() const { return keys_.back(); }

  /// The index of a key; nothing when it is none of this log's.
  std::optional<std::size_t> find(const Ed25519PublicKey& key) const;
  /// The same; throws.
  std::size_t require(const Ed25519PublicKey& key, std::string_view place) const;
  /// The index of the key that signed a checkpoint of this size. Throws when none did that may, and when a key of the
  /// chain did that may not.
  std::size_t signer_of(const SignedNote& checkpoint, std::string_view name, std::int64_t size,
                        std::string_view place) const;
  /// Throws when a hand-over lies behind the size of the newest checkpoint.
  void require_reached(std::int64_t size, std::string_view place) const;
  /// "key 1 of 2 (ab12cd34), handed over at size 50, revoked beyond size 40"
  std::string describe(std::size_t index) const;

 private:
  KeyChain() = default;
  void read_hand_overs(const std::filesystem::path& log);
  void take(const SignedNote& note, std::string_view place, const std::filesystem::path& log);
  void require_contract(const Digest& contract, std::string_view place) const;
  void require_unrevoked_hand_overs(std::string_view place) const;

  LogOpening opening_;
  Digest opening_digest_{};
  std::vector<Key> keys_;
};

/// The kernel sets under which the work of a run is proved.
struct AdmissibleKernelSets {
  std::vector<Digest> digests;
  bool from_opening = false;  ///< the owner's opening names them; else the genesis record's alone
  bool contains(const Digest& kernel_set) const;
};
/// Those of the log's opening when the owner's key is known (throws when the log has no good one, or the key is none of
/// the log's), else the one of the genesis record.
AdmissibleKernelSets admissible_kernel_sets(const std::filesystem::path& log, const Digest& contract,
                                            const Digest& genesis_kernel_set,
                                            const std::optional<Ed25519PublicKey>& owner);

}  // namespace baekji
