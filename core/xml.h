#pragma once
// Text as XML, for the pictures that we draw.

#include <string>

namespace baekji {

/// `text` as it may stand in XML text or in an attribute. Control characters, most of which may not stand there at all,
/// become spaces.
std::string xml_escaped(const std::string& text);

}  // namespace baekji
