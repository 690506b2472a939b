#pragma once
// The note that binds an owner to a contract before the run, and what a witness registers and lists of such notes.
// docs/formats/log.md, "Contract note" and "Witness".

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "proof/signed_note.h"

namespace baekji {

inline constexpr std::string_view kContractNoteName = "baekji/contract";

struct ContractNote {
  Digest contract{};
  std::string name;  ///< under which a witness serves one contract for a round
  std::string seed;  ///< where the seed comes from: "beacon NAME ROUND", or "seed"

  bool has_beacon() const { return seed != "seed"; }
  friend bool operator==(const ContractNote&, const ContractNote&) = default;
};

/// What the note of this contract (canonical bytes) says under this name. Throws when there can be no such name.
ContractNote contract_note_of(std::string_view contract, const std::string& name);
std::string contract_note_text(const ContractNote& note);
/// Throws when the text is another one or no signature has the name above; whether that signature holds is for
/// verify_note(), with the owner's key.
ContractNote parse_contract_note(const SignedNote& note, std::string_view place);

/// One signature of a witness.
struct RegisterEntry {
  ContractNote note;
  std::int64_t time_s = 0;
};

/// The witness's own file. One that is not there holds nothing.
std::vector<RegisterEntry> read_register(const std::filesystem::path& file);
/// Puts an entry into it, on the disk. Throws when the register has another contract for the same name, beacon and
/// round, or a later time.
void register_note(const std::filesystem::path& file, const RegisterEntry& entry);

/// The text of a witness's list, and the list as the witness signed it.
std::string register_list_text(std::span<const RegisterEntry> entries);
struct WitnessList {
  std::int64_t time_s = 0;  ///< when the witness signed it
  std::vector<RegisterEntry> entries;
};
WitnessList read_witness_list(const std::filesystem::path& file, std::string_view witness, const Ed25519PublicKey& key);

/// What a list has for a round.
struct RoundCount {
  std::int64_t of_name = 0;  ///< contracts under the note's name
  std::int64_t in_all = 0;   ///< contracts under any name
};
RoundCount count_round(std::span<const RegisterEntry> entries, const ContractNote& note);

}  // namespace baekji
