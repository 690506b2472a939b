#include "proof/contract.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/untrusted_json.h"

namespace baekji {
namespace {

using nlohmann::json;

void check_canonical(const json& value, const std::string& path) {
  if (value.is_number_float()) {
    throw Error("a floating-point number has no canonical JSON")
        .values("an integer or text", value.dump())
        .at(path)
        .hint("write contract_number(x)");
  }
  if (value.is_binary() || value.is_discarded()) throw Error("not a JSON value").at(path);
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) check_canonical(member, path + "." + key);
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) check_canonical(value[i], fmt::format("{}[{}]", path, i));
  }
}

}  // namespace

std::string canonical_json(const json& value) {
  check_canonical(value, "$");
  try {
    // nlohmann::json keeps objects in std::map: keys come out in byte order.
    return value.dump(-1, ' ', false, json::error_handler_t::strict);
  } catch (const json::exception& error) {
    throw Error("text that is not UTF-8 has no canonical JSON").values("UTF-8", error.what());
  }
}

json parse_canonical_json(std::string_view text, std::string_view place) {
  json value = parse_untrusted_json(text, place);
  std::string canonical;
  try {
    canonical = canonical_json(value);
  } catch (const Error& error) {
    throw Error("not canonical JSON").values("canonical JSON", error.problem() + " (" + error.where() + ")").at(place);
  }
  if (canonical != text) {
    const auto [a, b] = std::mismatch(canonical.begin(), canonical.end(), text.begin(), text.end());
    throw Error("not canonical JSON")
        .values("keys sorted and once each, no white space, shortest spelling",
                fmt::format("another spelling from byte {}", a - canonical.begin()))
        .at(place);
  }
  return value;
}

std::string contract_number(double value) {
  if (!std::isfinite(value))
    throw Error("a contract holds finite numbers only").values("a finite number", fmt::format("{}", value));
  if (value == 0.0) return "0";
  // Shortest digits d.ddde+XX; only their notation is ours.
  std::array<char, 32> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::fabs(value), std::chars_format::scientific).ptr;
  const std::string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const std::size_t mark = text.find('e');
  std::string digits(text.substr(0, 1));
  if (mark > 1) digits += text.substr(2, mark - 2);
  const std::string_view exponent_text = text.substr(mark + 2);
  int exponent = 0;
  std::from_chars(exponent_text.data(), exponent_text.data() + exponent_text.size(), exponent);
  if (text[mark + 1] == '-') exponent = -exponent;

  const int count = static_cast<int>(digits.size());
  const int point = exponent + 1;  // digits before the decimal point
  std::string out = value < 0 ? "-" : "";
  if (count <= point && point <= 21) {
    out += digits + std::string(static_cast<std::size_t>(point - count), '0');
  } else if (0 < point && point <= 21) {
    out += digits.substr(0, static_cast<std::size_t>(point)) + "." + digits.substr(static_cast<std::size_t>(point));
  } else if (-6 < point && point <= 0) {
    out += "0." + std::string(static_cast<std::size_t>(-point), '0') + digits;
  } else {
    out += digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    out += fmt::format("e{}{}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  return out;
}

Digest contract_digest(std::string_view canonical) {
  parse_canonical_json(canonical, "contract");
  return sha256(canonical);
}

}  // namespace baekji
