#pragma once
// ContractReader: reads one table of a contract into a config struct, by the struct's own visitor. A contract holds
// every key in its one spelling, and newer keys only where they are not neutral: anything else is refused.

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace baekji {

class ContractReader {
 public:
  ContractReader(const nlohmann::json& table, std::string place);

  void field(const char* key, bool& value, const char* help);
  void field(const char* key, std::int64_t& value, const char* help);
  void field(const char* key, double& value, const char* help);
  void field(const char* key, std::string& value, const char* help);
  void field(const char* key, std::vector<double>& value, const char* help);
  void choice(const char* key, std::string& value, std::initializer_list<const char*> words, const char* help);
  template <class T>
  void newer(const char* key, T& value, const T& neutral, const char* help) {
    if (!table_.contains(key)) {
      value = neutral;
      return;
    }
    field(key, value, help);
    if (value == neutral) refuse(key, "no such key: the value is neutral");
  }

  /// Throws when the table has a key that no call named.
  void finish() const;

 private:
  const nlohmann::json& take(const char* key);
  double real(const nlohmann::json& value, const char* key) const;
  [[noreturn]] void refuse(const std::string& key, const std::string& required) const;

  const nlohmann::json& table_;
  std::string place_;
  std::size_t taken_ = 0;
};

/// Fills `config` from a table of a contract.
template <class Config>
void read_contract_table(const nlohmann::json& table, Config& config, const std::string& place) {
  ContractReader reader(table, place);
  config.visit(reader);
  reader.finish();
}

}  // namespace baekji
