#pragma once
// UTF-8 as bytes: just what the tokenizer and its training need to keep characters whole.

#include <cstddef>
#include <string_view>

namespace baekji {

/// U+2581, SentencePiece's spelling of a space.
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

constexpr bool is_utf8_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

/// Bytes of the well-formed character that `text` starts with (Unicode 15, table 3-7: no overlong forms, no surrogates,
/// nothing above U+10FFFF); 0 when it starts with none.
constexpr std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80U) return 1;
  const std::size_t length = lead >= 0xF0U ? 4 : lead >= 0xE0U ? 3 : 2;
  if (lead < 0xC2U || lead > 0xF4U || text.size() < length) return 0;
  const unsigned char low = lead == 0xE0U ? 0xA0U : lead == 0xF0U ? 0x90U : 0x80U;
  const unsigned char high = lead == 0xEDU ? 0x9FU : lead == 0xF4U ? 0x8FU : 0xBFU;
  if (at(1) < low || at(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (!is_utf8_continuation(text[i])) return 0;
  }
  return length;
}

/// Bytes of the longest prefix of `text`, at most `limit`, that does not end inside a character.
constexpr std::size_t utf8_prefix(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text.size();
  std::size_t end = limit;
  while (end > 0 && limit - end < 3 && is_utf8_continuation(text[end])) --end;
  return end == 0 || is_utf8_continuation(text[end]) ? limit : end;
}

}  // namespace baekji
