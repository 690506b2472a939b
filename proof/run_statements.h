#pragma once
// What the statements of docs/formats/attestation.md say of a run, taken from its ledger alone. Who signs and who
// verifies build them with the same functions: a statement is true when it is equal to the one that is built here.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "proof/attestation.h"
#include "proof/ledger.h"

namespace baekji {

/// Throws when the contract (canonical bytes) is not the ledger's.
nlohmann::json contract_statement(const Ledger& ledger, std::string_view contract);

/// Of the first `records` lines. Throws when the ledger has not so many.
nlohmann::json chain_statement(const Ledger& ledger, std::int64_t records);

struct Release {
  std::int64_t step = 0;
  std::int64_t records = 0;  ///< lines up to the head that the statement names
  std::string form;
  std::string dtype;
  std::int64_t shard_bytes = 0;
};
/// Throws when the step is 0, has no state root in the history that counts, or the head lies before that root.
nlohmann::json release_statement(const Ledger& ledger, const Release& release, std::span<const AttestedSubject> files);

/// The number of lines of a ledger's file up to the one with this SHA-256; 0 when there is none.
std::int64_t records_up_to(const std::filesystem::path& ledger, std::string_view head);

}  // namespace baekji
