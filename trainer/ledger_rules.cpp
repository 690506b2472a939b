#include "trainer/ledger_rules.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/untrusted_file.h"
#include "model/parameters.h"
#include "parallel/numerics.h"
#include "parallel/optimizer_config.h"
#include "proof/beacon.h"
#include "proof/contract.h"
#include "trainer/contract_reader.h"
#include "trainer/experiment.h"

namespace baekji {
namespace {

using nlohmann::json;

// Exactly the members of docs/formats/contract.md.
void require_members(const json& contract, const std::string& place) {
  const bool has_beacon = contract.contains("beacon");
  std::set<std::string> members{"format",   "formats",   "model",
                                "numerics", "optimizer", "sources",
                                "stages",   "tokenizer", has_beacon ? "beacon" : "seed"};
  if (contract.contains("max_skipped_batches")) members.insert("max_skipped_batches");
  std::set<std::string> came;
  for (const auto& [name, value] : contract.items()) came.insert(name);
  if (came != members)
    throw Error("a contract has other members than this program knows")
        .values(fmt::format("{}", fmt::join(members, ", ")), fmt::format("{}", fmt::join(came, ", ")))
        .at(place);
  if (contract.at("format") != kContractFormat)
    throw Error("a contract of another form").values(kContractFormat, contract.at("format").dump()).at(place);
  (void)parse_digest(contract.at("tokenizer").get_ref<const std::string&>());
}

// More would be a contract that no machine could hold, read from a file that nobody vouches for.
constexpr std::int64_t kMostLayers = 100'000;
constexpr std::int64_t kMostStages = 10'000;
constexpr std::int64_t kMostExtent = std::int64_t{1} << 31;
constexpr std::int64_t kMostBatchTokens = std::int64_t{1} << 36;

std::vector<TrainingStage> read_stages(const json& list, const std::string& place) {
  if (!list.is_array() || list.empty() || list.size() > kMostStages)
    throw Error("a contract has stages")
        .values(fmt::format("1 to {}", kMostStages), list.dump().substr(0, 200))
        .at(place);
  std::vector<TrainingStage> stages;
  for (const json& table : list) {
    const std::string at = fmt::format("{}: stages[{}]", place, stages.size());
    TrainingStage stage;
    read_contract_table(table, stage, at);
    const std::int64_t least = stages.empty() ? 1 : stages.back().from_step + 1;
    const bool follows = stages.empty() ? stage.from_step == 1 : stage.from_step >= least;
    const auto counts = {stage.context, stage.global_batch, stage.micro_batch};
    if (!follows || std::any_of(counts.begin(), counts.end(), [](auto n) { return n < 1 || n > kMostExtent; }) ||
        stage.global_batch > kMostBatchTokens / stage.context)
      throw Error("a stage of the contract cannot be")
          .values("steps that ascend, counts from 1, at most 2^36 tokens", table.dump())
          .at(at);
    stages.push_back(std::move(stage));
  }
  return stages;
}

std::int64_t position_of(const std::vector<TrainingStage>& stages, std::int64_t batch) {
  std::int64_t position = 0;
  for (std::size_t i = 0; i < stages.size() && stages[i].from_step <= batch; ++i) {
    const std::int64_t end = i + 1 < stages.size() ? std::min(stages[i + 1].from_step - 1, batch) : batch;
    position += (end - stages[i].from_step + 1) * stages[i].global_batch;
  }
  return position;
}

std::int64_t batch_tokens_of(const std::vector<TrainingStage>& stages, std::int64_t batch) {
  const auto after =
      std::upper_bound(stages.begin(), stages.end(), batch,
                       [](std::int64_t value, const TrainingStage& stage) { return value < stage.from_step; });
  const TrainingStage& stage = *std::prev(after);
  return stage.global_batch * stage.context;
}

std::set<std::string> parameter_names(const json& contract, const std::string& place) {
  ModelConfig model;
  NumericsConfig numerics;
  read_contract_table(contract.at("model"), model, place + ": model");
  read_contract_table(contract.at("numerics"), numerics, place + ": numerics");
  const auto extents = {model.layers, model.hidden, model.heads, model.kv_heads, model.ffn, model.vocab, model.context};
  const auto counts = {numerics.global_batch, numerics.micro_batch, numerics.replicas, numerics.loss_chunk};
  if (std::any_of(counts.begin(), counts.end(), [](auto n) { return n < 1; }))
    throw Error("a count of the contract's numerics cannot be")
        .values("counts from 1", contract.at("numerics").dump())
        .at(place);
  const bool sane = std::all_of(extents.begin(), extents.end(), [](auto n) { return n >= 1 && n <= kMostExtent; }) &&
                    model.layers <= kMostLayers && model.head_dim >= 0 && model.head_dim <= kMostExtent &&
                    numerics.tensor_grains >= 1 && numerics.tensor_grains <= kMostExtent;
  if (!sane)
    throw Error("the contract's model is beyond what this program takes")
        .values(fmt::format("extents from 1 to 2^31, at most {} layers", kMostLayers), contract.at("model").dump())
        .at(place);
  validate(model, numerics.tensor_grains, place + ": model");
  std::set<std::string> names;
  for (const ParameterGroup& group : declare_parameters(model, numerics.tensor_grains).groups) {
    for (const ParameterSpec& member : group.members) names.insert(member.logical.name);
  }
  return names;
}

std::int64_t max_skipped_batches(const json& contract, const std::string& place) {
  IdentityConfig identity;
  json table = json::object();
  if (contract.contains("max_skipped_batches")) table["max_skipped_batches"] = contract["max_skipped_batches"];
  ContractReader reader(table, place);
  reader.newer("max_skipped_batches", identity.max_skipped_batches, IdentityConfig::kAnySkippedBatches, "");
  if (identity.max_skipped_batches < IdentityConfig::kAnySkippedBatches)
    throw Error("a contract allows some number of skipped batches").values(">= 0", table.dump()).at(place);
  return identity.max_skipped_batches;
}

// Who chose the data and the order: the ledger's numbers do not follow from them, but a contract without is none.
void check_sources_and_seed(const json& contract, const std::string& place) {
  const json& sources = contract.at("sources");
  if (!sources.is_array()) throw Error("a contract has sources").values("an array", sources.dump()).at(place);
  for (const json& table : sources) {
    ContractReader reader(table, place + ": sources");
    std::string name, data_root;
    double weight = 0;
    reader.field("name", name, "");
    reader.field("data_root", data_root, "");
    reader.field("weight", weight, "");
    reader.finish();
    (void)parse_digest(data_root);
  }
  const bool has_beacon = contract.contains("beacon");
  const std::string at = place + (has_beacon ? ": beacon" : ": seed");
  ContractReader reader(has_beacon ? contract.at("beacon") : contract, at);
  std::int64_t number = 0;
  std::string name;
  reader.field(has_beacon ? "round" : "seed", number, "");
  if (has_beacon) reader.field("name", name, "");
  if (has_beacon) reader.finish();
  if (number < (has_beacon ? 1 : 0))
    throw Error("a contract has a seed from 0, or a beacon with a round from 1")
        .values("seed >= 0, or round >= 1", fmt::format("{}", number))
        .at(at);
}

LedgerRules rules_of(const json& contract, const std::string& place) {
  OptimizerConfig optimizer;
  read_contract_table(contract.at("optimizer"), optimizer, place + ": optimizer");
  validate(optimizer, place + ": optimizer");
  const std::vector<TrainingStage> stages = read_stages(contract.at("stages"), place);
  check_sources_and_seed(contract, place);
  LedgerRules rules{.contract = contract_digest(canonical_json(contract)),
                    .position = [stages](std::int64_t batch) { return position_of(stages, batch); },
                    .batch_tokens = [stages](std::int64_t batch) { return batch_tokens_of(stages, batch); },
                    .learning_rate = [optimizer](std::int64_t step) { return learning_rate(optimizer, step); },
                    .parameters = parameter_names(contract, place)};
  rules.max_skipped_batches = max_skipped_batches(contract, place);
  if (contract.contains("beacon"))
    rules.beacon_value_bytes = beacon_value_bytes(contract.at("beacon").at("name").get<std::string>());
  return rules;
}

}  // namespace

LedgerRules ledger_rules(std::string_view contract, const std::string& place) {
  const json value = parse_canonical_json(contract, place);
  try {
    const json expected = contract_formats();
    if (value.at("formats") != expected)
      throw Error("the contract asks for formats of another version")
          .values(expected.dump(), value.at("formats").dump())
          .at(place)
          .hint("the program that wrote the run reads it");
    require_members(value, place);
    return rules_of(value, place);
  } catch (const json::exception& error) {
    throw Error("not a contract").values("docs/formats/contract.md", error.what()).at(place);
  }
}

Ledger open_run_ledger(const RunFolder& folder) {
  const std::string place = folder.contract().string();
  const std::string contract = read_untrusted(folder.contract(), kMostContractBytes);
  return Ledger::open_read_only(folder.ledger(), ledger_rules(contract, place));
}

}  // namespace baekji
