#pragma once
// Base64 (RFC 4648, section 4): how signatures and payloads stand in JSON and in PEM.

#include <string>
#include <string_view>

namespace baekji {

/// With padding, without line breaks.
std::string base64(std::string_view bytes);

}  // namespace baekji
