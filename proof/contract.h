#pragma once
// The contract: the canonical bytes of everything that decides bits. Its SHA-256 names the experiment. The bytes are
// fixed by docs/formats/contract.md; which values go in is decided where the experiment file is read.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "core/digest.h"

namespace baekji {

/// The version of docs/formats/contract.md that this code writes; part of the contract.
inline constexpr std::int64_t kContractVersion = 1;

/// Canonical JSON: object keys sorted by their bytes, no white space, UTF-8, integers as integers. Throws on a
/// floating-point value (write contract_number(x) instead), on text that is not UTF-8, and on binary values; the error
/// names the path.
std::string canonical_json(const nlohmann::json& value);

/// Parses canonical JSON. Throws when the text is not JSON or when canonical_json of it gives other bytes (white space,
/// order, a repeated key, another spelling); `place` says where the text came from.
nlohmann::json parse_canonical_json(std::string_view text, std::string_view place);

/// A floating-point value as text: the shortest decimal that reads back as the same double, in the notation of
/// ECMAScript's Number::toString (RFC 8785): "0.0003", "1", "1e-7". Negative zero is "0". Throws when the value is not
/// finite.
std::string contract_number(double value);

/// SHA-256 of the canonical bytes. Throws when they are not canonical JSON.
Digest contract_digest(std::string_view canonical);

}  // namespace baekji
