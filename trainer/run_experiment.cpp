#include "trainer/run_experiment.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/config.h"
#include "core/error.h"

namespace baekji {
namespace {

constexpr std::string_view kLayoutPrefix = "layout.";

// The caller's keys, each with its table in front; an override of anything else would change whose experiment it is.
std::vector<std::string> layout_keys(std::span<const std::string> overrides) {
  std::vector<std::string> keys;
  for (const std::string& text : overrides) {
    const bool named = text.starts_with(kLayoutPrefix);
    const std::string key = named ? text : std::string(kLayoutPrefix) + text;
    if (key.substr(0, key.find('=')).find('.', kLayoutPrefix.size()) != std::string::npos) {
      throw Error("only keys of [layout] can be given for a run that is there")
          .values("tensor=2, pipeline=2, ...", text)
          .hint("what decides bits stands in the run's contract");
    }
    keys.push_back(key);
  }
  return keys;
}

}  // namespace

Experiment load_run_experiment(const std::filesystem::path& folder, std::span<const std::string> layout_overrides) {
  const std::filesystem::path path = folder / "experiment.toml";
  nlohmann::json file = load_config_alone(path);
  for (const char* table : {"layout", "run", "log"}) file.erase(table);
  override_config(file, layout_keys(layout_overrides));
  Experiment e = read_experiment(file, path.string());
  e.data.tokenizer = (folder / "tokenizer.model").string();
  return e;
}

void use_stores(Experiment& experiment, std::span<const std::string> stores) {
  std::set<std::string> given;
  for (const std::string& text : stores) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
      throw Error("a store has the form NAME=PATH").values("NAME=PATH", text).at("--store");
    const std::string name = text.substr(0, equals);
    std::vector<SourceConfig>& sources = experiment.data.sources;
    const auto source = std::find_if(sources.begin(), sources.end(), [&](const auto& s) { return s.name == name; });
    if (source == sources.end()) {
      std::vector<std::string> names;
      for (const SourceConfig& s : sources) names.push_back(s.name);
      throw Error("the run has no source of that name")
          .values(fmt::format("one of {}", fmt::join(names, ", ")), name)
          .at("--store");
    }
    if (!given.insert(name).second) throw Error("a store is given twice").values("once", name).at("--store");
    source->path = text.substr(equals + 1);
  }
}

}  // namespace baekji
