#include "core/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/error.h"
#include "core/untrusted_file.h"
#include "core/untrusted_toml.h"

namespace baekji {
namespace {

using nlohmann::json;

json to_json(const toml::node& node, const std::string& place) {
  switch (node.type()) {
    case toml::node_type::table: {
      json object = json::object();
      for (const auto& [key, child] : *node.as_table()) object[std::string(key.str())] = to_json(child, place);
      return object;
    }
    case toml::node_type::array: {
      json array = json::array();
      for (const auto& child : *node.as_array()) array.push_back(to_json(child, place));
      return array;
    }
    case toml::node_type::string:
      return node.as_string()->get();
    case toml::node_type::integer:
      return node.as_integer()->get();
    case toml::node_type::floating_point:
      return node.as_floating_point()->get();
    case toml::node_type::boolean:
      return node.as_boolean()->get();
    default:
      throw Error("dates and times are not configuration values").at(place);
  }
}

json parse_toml(std::string_view text, const std::string& place) {
  require_shallow_toml(text, place);
  try {
    const toml::table table = toml::parse(text, place);
    return to_json(table, place);
  } catch (const toml::parse_error& error) {
    throw Error("not valid TOML")
        .values("TOML", std::string(error.description()))
        .at(fmt::format("{}, line {}, column {}", place, error.source().begin.line, error.source().begin.column));
  }
}

void merge(json& base, const json& layer) {
  for (const auto& [key, value] : layer.items()) {
    if (value.is_object() && base.contains(key) && base[key].is_object())
      merge(base[key], value);
    else
      base[key] = value;
  }
}

json load_layer(const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::exists(path, code)) {
    throw Error("no such experiment file").values("a TOML file", "nothing").at(path.string());
  }
  return parse_toml(read_untrusted(path, kMostConfigBytes), path.string());
}

json load_layers(const std::filesystem::path& path, std::vector<std::filesystem::path>& open) {
  json layer = load_layer(path);
  const std::filesystem::path real = std::filesystem::canonical(path);
  if (std::find(open.begin(), open.end(), real) != open.end()) {
    throw Error("the files extend one another in a circle").at(path.string());
  }
  open.push_back(real);
  json result = json::object();
  if (layer.contains("extends")) {
    if (!layer["extends"].is_string()) throw Error("extends must name one file").at(path.string());
    result = load_layers(path.parent_path() / layer["extends"].get<std::string>(), open);
    layer.erase("extends");
  }
  merge(result, layer);
  open.pop_back();
  return result;
}

void apply_override(json& config, const std::string& text) {
  const std::string place = "--set " + text;
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw Error("an override has the form section.key=value")
        .values("section.key=value", text)
        .hint("--set layout.data=2");
  }
  const std::string key = text.substr(0, equals);
  const std::string value = text.substr(equals + 1);
  json parsed;
  try {
    parsed = parse_toml(key + " = " + value, place);
  } catch (const Error&) {
    std::string quoted;
    for (const char c : value) {
      if (c == '"' || c == '\\') quoted.push_back('\\');
      quoted.push_back(c);
    }
    parsed = parse_toml(key + " = \"" + quoted + "\"", place);  // a bare word: the shell has eaten the quotes
  }
  merge(config, parsed);
}

bool plain_tables(const json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const json& element) { return element.is_object(); });
}

toml::table to_table(const json& object);

void append_scalar(toml::array& out, const json& value) {
  if (value.is_boolean())
    out.push_back(value.get<bool>());
  else if (value.is_number_integer())
    out.push_back(value.get<std::int64_t>());
  else if (value.is_number())
    out.push_back(value.get<double>());
  else
    out.push_back(value.get<std::string>());
}

toml::table to_table(const json& object) {
  toml::table table;
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      table.insert(key, to_table(value));
    } else if (plain_tables(value)) {
      toml::array array;
      for (const json& element : value) array.push_back(to_table(element));
      table.insert(key, std::move(array));
    } else if (value.is_array()) {
      toml::array array;
      for (const json& element : value) append_scalar(array, element);
      table.insert(key, std::move(array));
    } else if (value.is_boolean()) {
      table.insert(key, value.get<bool>());
    } else if (value.is_number_integer()) {
      table.insert(key, value.get<std::int64_t>());
    } else if (value.is_number()) {
      table.insert(key, value.get<double>());
    } else {
      table.insert(key, value.get<std::string>());
    }
  }
  return table;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

json load_config(const std::filesystem::path& path, std::span<const std::string> overrides) {
  std::vector<std::filesystem::path> open;
  json config = load_layers(path, open);
  override_config(config, overrides);
  return config;
}

json load_config_alone(const std::filesystem::path& path) {
  json config = load_layer(path);
  if (config.contains("extends"))
    throw Error("the file of a run extends no other")
        .values("every key, resolved, as `baekji train` stores it", "extends")
        .at(path.string());
  return config;
}

void override_config(json& config, std::span<const std::string> overrides) {
  for (const std::string& text : overrides) apply_override(config, text);
}

std::string to_toml(const json& config) {
  std::stringstream text;
  text << to_table(config) << '\n';
  return text.str();
}

std::string nearest_word(std::string_view word, std::span<const std::string> known) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(3, word.size() / 2);
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  const std::string near = nearest_word(word, known);
  return near.empty() ? near : fmt::format("did you mean \"{}\"?", near);
}

const json* ConfigReader::find(const char* key) {
  known_.emplace_back(key);
  const auto it = table_.find(key);
  return it == table_.end() ? nullptr : &*it;
}

void ConfigReader::wrong_type(const char* key, const char* wanted, const json& came, const char* help) const {
  throw Error(fmt::format("{} has the wrong type", key))
      .values(wanted, came.dump())
      .at(place_)
      .hint(fmt::format("{}: {}", key, help));
}

void ConfigReader::field(const char* key, bool& value, const char* help) {
  if (const json* node = find(key)) {
    if (!node->is_boolean()) wrong_type(key, "true or false", *node, help);
    value = node->get<bool>();
  }
}

void ConfigReader::field(const char* key, std::int64_t& value, const char* help) {
  if (const json* node = find(key)) {
    if (!node->is_number_integer()) wrong_type(key, "an integer", *node, help);
    value = node->get<std::int64_t>();
  }
}

void ConfigReader::field(const char* key, double& value, const char* help) {
  if (const json* node = find(key)) {
    if (!node->is_number() || !std::isfinite(node->get<double>())) wrong_type(key, "a finite number", *node, help);
    value = node->get<double>();
  }
}

void ConfigReader::field(const char* key, std::string& value, const char* help) {
  if (const json* node = find(key)) {
    if (!node->is_string()) wrong_type(key, "text", *node, help);
    value = node->get<std::string>();
  }
}

void ConfigReader::field(const char* key, std::vector<double>& value, const char* help) {
  if (const json* node = find(key)) {
    if (!node->is_array()) wrong_type(key, "a list of numbers", *node, help);
    value.clear();
    for (const json& element : *node) {
      if (!element.is_number()) wrong_type(key, "a list of numbers", *node, help);
      value.push_back(element.get<double>());
    }
  }
}

void ConfigReader::field(const char* key, std::vector<std::int64_t>& value, const char* help) {
  if (const json* node = find(key)) {
    if (!node->is_array()) wrong_type(key, "a list of integers", *node, help);
    value.clear();
    for (const json& element : *node) {
      if (!element.is_number_integer()) wrong_type(key, "a list of integers", *node, help);
      value.push_back(element.get<std::int64_t>());
    }
  }
}

void ConfigReader::field(const char* key, std::vector<std::string>& value, const char* help) {
  if (const json* node = find(key)) {
    if (!node->is_array()) wrong_type(key, "a list of texts", *node, help);
    value.clear();
    for (const json& element : *node) {
      if (!element.is_string()) wrong_type(key, "a list of texts", *node, help);
      value.push_back(element.get<std::string>());
    }
  }
}

void ConfigReader::choice(const char* key, std::string& value, std::initializer_list<const char*> words,
                          const char* help) {
  field(key, value, help);
  std::vector<std::string> known(words.begin(), words.end());
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  const std::string near = did_you_mean(value, known);
  throw Error(fmt::format("{} has an unknown value", key))
      .values(fmt::format("one of {}", fmt::join(known, ", ")), value)
      .at(place_)
      .hint(near.empty() ? help : near);
}

void ConfigReader::finish(std::initializer_list<const char*> nested) const {
  for (const auto& [key, value] : table_.items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    if (std::any_of(nested.begin(), nested.end(), [&k = key](const char* name) { return k == name; })) continue;
    std::vector<std::string> words = known_;
    words.insert(words.end(), nested.begin(), nested.end());
    const std::string near = did_you_mean(key, words);
    throw Error("unknown key")
        .values(fmt::format("one of {}", fmt::join(words, ", ")), key)
        .at(place_)
        .hint(near.empty() ? "see configs/reference.toml for every key" : near);
  }
}

}  // namespace baekji
