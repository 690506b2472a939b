#pragma once
// Configuration files: TOML layered by `extends`, overridden by `--set`, read into structs by one visitor each.
//
// A config struct lists its fields once:
//   template <class V> void visit(V& v) { v.field("layers", layers, "transformer blocks"); ... }
// ConfigReader fills it (an unknown key is an error that names the nearest known one) and ConfigWriter writes it back,
// so a key is spelled in one place.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace baekji {

/// Reads `path` and the files it `extends` (paths relative to the file that names them; the nearer layer wins, arrays
/// are replaced whole), then applies `overrides` of the form "section.key=value" (TOML values; a bare word is a
/// string). Throws Error with file and line on a syntax error, a cycle or an override that is none.
nlohmann::json load_config(const std::filesystem::path& path, std::span<const std::string> overrides);

/// One file of unknown origin, and no other: throws when it `extends` one. TOML files of all kinds have at most 1 MiB
/// and nest at most 32 levels (core/untrusted_toml.h).
nlohmann::json load_config_alone(const std::filesystem::path& path);
/// Applies overrides as load_config() does.
void override_config(nlohmann::json& config, std::span<const std::string> overrides);

/// The same value as TOML text (objects and arrays of objects become tables).
std::string to_toml(const nlohmann::json& config);

/// The word of `known` nearest to `word` by edit distance; empty when none is near.
std::string nearest_word(std::string_view word, std::span<const std::string> known);
/// The same as an error's hint: "did you mean ...?", or empty.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

/// Reads the keys of one table. `place` ("configs/x.toml [model]") names it in errors.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& table, std::string place) : table_(table), place_(std::move(place)) {}

  void field(const char* key, bool& value, const char* help);
  void field(const char* key, std::int64_t& value, const char* help);
  void field(const char* key, double& value, const char* help);
  void field(const char* key, std::string& value, const char* help);
  void field(const char* key, std::vector<double>& value, const char* help);
  void field(const char* key, std::vector<std::int64_t>& value, const char* help);
  void field(const char* key, std::vector<std::string>& value, const char* help);
  /// A key that later versions added to a table of the contract. `neutral` reproduces what was before it, for ever: at
  /// that value the key stays out of the contract's bytes (docs/formats/contract.md, "Newer keys").
  template <class T>
  void newer(const char* key, T& value, const T& /*neutral*/, const char* help) {
    field(key, value, help);
  }
  /// A string that must be one of `words`.
  void choice(const char* key, std::string& value, std::initializer_list<const char*> words, const char* help);

  /// Throws on a key of the table that no field() or choice() named, except those in `nested`.
  void finish(std::initializer_list<const char*> nested = {}) const;

 private:
  const nlohmann::json* find(const char* key);
  [[noreturn]] void wrong_type(const char* key, const char* wanted, const nlohmann::json& came, const char* help) const;

  const nlohmann::json& table_;
  std::string place_;
  std::vector<std::string> known_;
};

/// The inverse of ConfigReader: the struct's fields as a JSON object.
class ConfigWriter {
 public:
  ConfigWriter() = default;
  /// A writer of the contract leaves newer keys out where they are neutral.
  struct ForContract {};
  explicit ConfigWriter(ForContract /*tag*/) : for_contract_(true) {}

  template <class T>
  void field(const char* key, const T& value, const char* /*help*/) {
    table_[key] = value;
  }
  template <class T>
  void newer(const char* key, const T& value, const T& neutral, const char* /*help*/) {
    if (!for_contract_ || value != neutral) table_[key] = value;
  }
  void choice(const char* key, const std::string& value, std::initializer_list<const char*> /*words*/,
              const char* /*help*/) {
    table_[key] = value;
  }
  nlohmann::json take() { return std::move(table_); }

 private:
  nlohmann::json table_ = nlohmann::json::object();
  bool for_contract_ = false;
};

/// Fills `config` from `table` (absent keys keep their defaults) and refuses unknown keys.
template <class Config>
void read_config(const nlohmann::json& table, Config& config, const std::string& place,
                 std::initializer_list<const char*> nested = {}) {
  ConfigReader reader(table, place);
  config.visit(reader);
  reader.finish(nested);
}

template <class Config>
nlohmann::json write_config(const Config& config, ConfigWriter writer = {}) {
  Config copy = config;  // visit() is not const: one visitor serves reading and writing
  copy.visit(writer);
  return writer.take();
}

}  // namespace baekji
