#pragma once
// Lists of keys on the command line: "pipeline=2,tensor=2".

#include <string>
#include <vector>

namespace baekji {

/// The keys of a text; commas inside brackets belong to a value.
inline std::vector<std::string> split_keys(const std::string& text) {
  std::vector<std::string> keys;
  int depth = 0;
  std::string key;
  for (const char c : text) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c != ',' || depth > 0) {
      key.push_back(c);
      continue;
    }
    keys.push_back(std::move(key));
    key.clear();
  }
  if (!key.empty()) keys.push_back(std::move(key));
  return keys;
}

/// Those of several texts.
inline std::vector<std::string> split_keys(const std::vector<std::string>& texts) {
  std::vector<std::string> all;
  for (const std::string& text : texts) {
    for (std::string& key : split_keys(text)) all.push_back(std::move(key));
  }
  return all;
}

}  // namespace baekji
