#include "trainer/contract_reader.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "core/error.h"
#include "proof/contract.h"

namespace baekji {

using nlohmann::json;

ContractReader::ContractReader(const json& table, std::string place) : table_(table), place_(std::move(place)) {
  if (!table.is_object()) refuse("it", "an object");
}

void ContractReader::refuse(const std::string& key, const std::string& required) const {
  const std::string came =
      table_.is_object() && table_.contains(key) ? table_.at(key).dump().substr(0, 200) : "nothing";
  throw Error("a table of the contract does not hold what it must").values(key + ": " + required, came).at(place_);
}

const json& ContractReader::take(const char* key) {
  if (!table_.contains(key)) refuse(key, "a value");
  ++taken_;
  return table_.at(key);
}

double ContractReader::real(const json& value, const char* key) const {
  if (!value.is_string()) refuse(key, "a real number as text");
  const auto& text = value.get_ref<const std::string&>();
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size() || contract_number(number) != text)
    refuse(key, "a real number in its one spelling");
  return number;
}

void ContractReader::field(const char* key, bool& value, const char* /*help*/) {
  const json& came = take(key);
  if (!came.is_boolean()) refuse(key, "true or false");
  value = came.get<bool>();
}

void ContractReader::field(const char* key, std::int64_t& value, const char* /*help*/) {
  const json& came = take(key);
  constexpr auto kMost = static_cast<std::uint64_t>(INT64_MAX);
  if (!came.is_number_integer() || (came.is_number_unsigned() && came.get<std::uint64_t>() > kMost))
    refuse(key, "an integer of 64 bits");
  value = came.get<std::int64_t>();
}

void ContractReader::field(const char* key, double& value, const char* /*help*/) {
  value = real(take(key), key);
}

void ContractReader::field(const char* key, std::string& value, const char* /*help*/) {
  const json& came = take(key);
  if (!came.is_string()) refuse(key, "text");
  value = came.get<std::string>();
}

void ContractReader::field(const char* key, std::vector<double>& value, const char* /*help*/) {
  const json& came = take(key);
  if (!came.is_array()) refuse(key, "an array");
  value.clear();
  for (const json& element : came) value.push_back(real(element, key));
}

void ContractReader::choice(const char* key, std::string& value, std::initializer_list<const char*> words,
                            const char* help) {
  field(key, value, help);
  if (std::none_of(words.begin(), words.end(), [&](const char* word) { return value == word; }))
    refuse(key, "a word that this program knows");
}

void ContractReader::finish() const {
  if (taken_ != table_.size()) refuse("it", "no keys that this program does not know");
}

}  // namespace baekji
