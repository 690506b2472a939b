#include "core/untrusted_json.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace baekji {
namespace {

// Counts brackets outside strings. Up to the first mistake in the text this sees what a parser sees, and no parser goes
// on behind one.
bool is_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMostJsonDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

nlohmann::json parse_untrusted_json(std::string_view text, std::string_view place) {
  if (is_deep(text))
    throw Error("JSON that nests too deeply")
        .values(fmt::format("at most {} levels", kMostJsonDepth), "more")
        .at(place);
  // The parser would stop at a zero byte and take what stands before it.
  const bool whole = text.find('\0') == std::string_view::npos;
  nlohmann::json value = nlohmann::json::parse(whole ? text : std::string_view(), nullptr, false);
  if (value.is_discarded())
    throw Error("not JSON").values("one JSON value", fmt::format("{} bytes that do not parse", text.size())).at(place);
  return value;
}

std::optional<nlohmann::json> try_parse_json(std::string_view text) {
  if (is_deep(text)) return std::nullopt;
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (value.is_discarded()) return std::nullopt;
  return value;
}

}  // namespace baekji
