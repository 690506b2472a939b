#pragma once
// Base64 (RFC 4648, section 4), in its one canonical spelling.

#include <optional>
#include <string>
#include <string_view>

namespace baekji {

/// With padding, without line breaks.
std::string encode_base64(std::string_view bytes);
/// Nothing when the text is not exactly what encode_base64() gives for some bytes: no white space, padding complete,
/// unused bits zero. So a text has one meaning and a meaning one text.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace baekji
