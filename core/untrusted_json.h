#pragma once
// JSON of unknown origin. The library parses any depth and then writes, copies and compares by recursion: 20,000
// brackets end a process. So the depth is looked at before anything is built.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

namespace baekji {

/// Objects and lists in one another; what we write has fewer than ten.
inline constexpr int kMostJsonDepth = 64;

/// Throws Error at `place` when `text` is not one JSON value, or nests deeper than kMostJsonDepth.
nlohmann::json parse_untrusted_json(std::string_view text, std::string_view place);
/// Nothing in either case: for lines that are only looked at.
std::optional<nlohmann::json> try_parse_json(std::string_view text);

}  // namespace baekji
