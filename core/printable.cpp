#include "core/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace baekji {
namespace {

constexpr std::size_t kMostShownBytes = std::size_t{16} << 10;

struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 0;  ///< 0: not UTF-8
};

std::uint32_t octet(std::string_view text, std::size_t i) {
  return static_cast<std::uint8_t>(text[i]);
}

// The first character of `text`, which is not empty: the shortest form only, no surrogates.
Character first_character(std::string_view text) {
  const std::uint32_t lead = octet(text, 0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  std::uint32_t code = lead & (0x7FU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((octet(text, i) & 0xC0U) != 0x80) return {};
    code = code << 6 | (octet(text, i) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[bytes] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {};
  return {code, bytes};
}

// Beyond C0, DEL and C1: what a terminal or a reader's eye obeys instead of showing.
bool is_invisible(std::uint32_t code) {
  constexpr std::array<std::pair<std::uint32_t, std::uint32_t>, 9> kRanges{{
      {0xAD, 0xAD},        // soft hyphen
      {0x61C, 0x61C},      // Arabic letter mark
      {0x200B, 0x200F},    // zero width, direction marks
      {0x2028, 0x202E},    // line and paragraph separators, direction overrides
      {0x2060, 0x206F},    // invisible operators, direction isolates
      {0xFEFF, 0xFEFF},    // byte order mark
      {0xFFF9, 0xFFFB},    // interlinear annotations
      {0xE0000, 0xE007F},  // tags
      {0xE000, 0xF8FF},    // private use: whatever the terminal's font makes of it
  }};
  return std::any_of(kRanges.begin(), kRanges.end(),
                     [&](const auto& range) { return code >= range.first && code <= range.second; });
}

// What of white space stays.
enum class Keep { kNothing, kOwnLines, kLinesAndTabs };

std::string escape(std::string_view text, Keep keep) {
  std::string shown;
  shown.reserve(text.size());
  while (!text.empty()) {
    const Character c = first_character(text);
    if (c.bytes == 0) {
      shown += fmt::format("\\x{:02x}", octet(text, 0));
    } else if (keep == Keep::kOwnLines && c.code == '\n' && text.substr(1).starts_with("  ")) {
      shown.push_back('\n');
    } else if (keep == Keep::kLinesAndTabs && (c.code == '\n' || c.code == '\t')) {
      shown += text.substr(0, 1);
    } else if (c.code == '\n' || c.code == '\t' || c.code == '\r') {
      shown += c.code == '\n' ? "\\n" : c.code == '\t' ? "\\t" : "\\r";
    } else if (c.code < 0x20 || (c.code >= 0x7F && c.code < 0xA0)) {
      shown += fmt::format("\\x{:02x}", c.code);
    } else if (is_invisible(c.code)) {
      shown += fmt::format("\\u{{{:x}}}", c.code);
    } else {
      shown += text.substr(0, c.bytes);
    }
    text.remove_prefix(std::max<std::size_t>(c.bytes, 1));
  }
  return shown;
}

}  // namespace

std::string printable(std::string_view text) {
  return escape(text, Keep::kNothing);
}

std::string printable_lines(std::string_view text) {
  if (text.size() <= kMostShownBytes) return escape(text, Keep::kOwnLines);
  return escape(text.substr(0, kMostShownBytes), Keep::kOwnLines) + fmt::format("... ({} bytes)", text.size());
}

std::string printable_text(std::string_view text) {
  return escape(text, Keep::kLinesAndTabs);
}

}  // namespace baekji
