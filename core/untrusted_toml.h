#pragma once
// TOML of unknown origin: dotted keys become tables in tables, which the library takes apart by recursion. So how deep
// a text nests is looked at before it is parsed.

#include <string>
#include <string_view>

namespace baekji {

/// Brackets in one another, and parts of one dotted key; our own files need three.
inline constexpr int kMostTomlDepth = 32;

/// Throws Error at `place`, with the line, when a text nests deeper. Says nothing on whether it is TOML.
void require_shallow_toml(std::string_view text, const std::string& place);

}  // namespace baekji
