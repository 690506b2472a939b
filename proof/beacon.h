#pragma once
// A seed that its owner could not choose: from a round of a public beacon. docs/formats/contract.md, "Seed".

#include <cstdint>
#include <string>
#include <string_view>

#include "core/digest.h"

namespace baekji {

/// The seed that the value of a round gives to a contract. Throws when the value is not as long as a round's: other
/// lengths would be other seeds to choose from.
std::uint64_t seed_from_beacon(const Digest& contract, std::string_view value);

/// When a round of a beacon comes, in seconds of POSIX time. Throws on a beacon that is not known.
std::int64_t beacon_time_s(const std::string& name, std::int64_t round);
/// How many bytes the value of each of its rounds has. Throws on a beacon that is not known.
std::int64_t beacon_value_bytes(const std::string& name);

}  // namespace baekji
