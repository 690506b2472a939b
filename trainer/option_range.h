#pragma once
// Ranges on the command line: "100:120", both ends included.

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace baekji {

/// Throws, naming the option, on anything but two numbers with 0 <= first <= second.
inline std::pair<std::int64_t, std::int64_t> parse_range(const std::string& text, const std::string& option) {
  std::pair<std::int64_t, std::int64_t> range{-1, -1};
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, range.first);
  const bool colon = first.ec == std::errc{} && first.ptr != end && *first.ptr == ':';
  const auto second = colon ? std::from_chars(first.ptr + 1, end, range.second) : first;
  if (!colon || second.ec != std::errc{} || second.ptr != end || range.first < 0 || range.second < range.first)
    throw Error("not a range").values("FIRST:LAST with 0 <= FIRST <= LAST", text).at(option);
  return range;
}

}  // namespace baekji
