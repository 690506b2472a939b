#include "core/base64.h"

#include <cstdint>

namespace baekji {
namespace {

constexpr std::string_view kBase64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string encode_base64(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < group.size() ? static_cast<std::uint8_t>(group[k]) : 0);
    for (std::size_t k = 0; k < 4; ++k)
      text.push_back(k <= group.size() ? kBase64Digits[bits >> (18 - 6 * k) & 63] : '=');
  }
  return text;
}

std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes;
  std::uint32_t bits = 0;
  std::uint32_t held = 0;  // bits that no byte has taken yet
  for (const char c : text) {
    if (c == '=') break;
    const std::size_t digit = kBase64Digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes.push_back(static_cast<char>(bits >> held & 255));
  }
  // Another spelling of the same bytes does not come out the same again.
  if (encode_base64(bytes) != text) return std::nullopt;
  return bytes;
}

}  // namespace baekji
