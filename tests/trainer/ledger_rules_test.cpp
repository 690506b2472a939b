// What a ledger must say by its contract: read from the contract's bytes, and the same that training computes.

#include "trainer/ledger_rules.h"

#include <gmock/gmock.h>

#include <bit>

#include "core/error.h"
#include "model/parameters.h"
#include "proof/contract.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/run_inputs.h"

namespace baekji::tiny {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Keys = std::vector<std::string>;

std::string contract_text(const Keys& keys = {}) {
  return open_contract(load("somewhere", keys)).contract;
}

std::string refusal(const json& contract) {
  try {
    (void)ledger_rules(canonical_json(contract));
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(LedgerRules, AreWhatTrainingComputes) {
  for (const char* schedule : {"cosine", "wsd"}) {
    Experiment e = load("somewhere", {fmt::format("optimizer.schedule='{}'", schedule), "optimizer.min_lr_ratio=0.1"});
    for (const std::int64_t from : {4, 9}) {
      TrainingStage next = e.stages.back();
      next.from_step = from;
      next.context = 16;
      next.global_batch *= 2;
      e.stages.push_back(next);
    }
    const ContractInputs inputs = open_contract(e);
    const BatchOrder order(5, order_sources(e.data, inputs.stores), order_stages(e));
    const LedgerRules rules = ledger_rules(inputs.contract);
    EXPECT_EQ(inputs.digest, rules.contract);
    for (std::int64_t n = 1; n <= 60; ++n) {
      EXPECT_EQ(order.data_position(n), rules.position(n)) << n;
      EXPECT_EQ(e.stage(n).global_batch * e.stage(n).context, rules.batch_tokens(n)) << n;
      EXPECT_EQ(std::bit_cast<std::uint64_t>(learning_rate(e.optimizer, n)),
                std::bit_cast<std::uint64_t>(rules.learning_rate(n)))
          << n;
    }
    std::size_t names = 0;
    for (const ParameterGroup& group : declare_parameters(e.model, e.numerics.tensor_grains).groups) {
      for (const ParameterSpec& member : group.members) names += rules.parameters.count(member.logical.name);
    }
    EXPECT_EQ(rules.parameters.size(), names);
  }
}

TEST(LedgerRules, ANewerKeyAtItsNeutralValueIsNotThere) {
  const std::string without = contract_text();
  EXPECT_EQ(without, contract_text({"experiment.max_skipped_batches=-1"}));
  EXPECT_EQ(without.find("max_skipped_batches"), std::string::npos);
  EXPECT_EQ(-1, ledger_rules(without).max_skipped_batches);
  for (const std::int64_t most : {0, 7}) {
    const std::string limited = contract_text({fmt::format("experiment.max_skipped_batches={}", most)});
    json expected = json::parse(without);
    expected["max_skipped_batches"] = most;
    EXPECT_EQ(canonical_json(expected), limited);
    EXPECT_EQ(most, ledger_rules(limited).max_skipped_batches);
  }
  EXPECT_THAT(resolved_toml(load("somewhere")), HasSubstr("max_skipped_batches = -1"));
  json contract = json::parse(without);
  for (const json& value : {json(-1), json(-2), json("1"), json(true), json(1.5)}) {
    contract["max_skipped_batches"] = value;
    if (!value.is_number_float()) {
      EXPECT_THAT(refusal(contract), HasSubstr("max_skipped_batches")) << value;
    }
  }
  EXPECT_THROW(load("somewhere", {"experiment.max_skipped_batches=-2"}), Error);
}

TEST(LedgerRules, AContractOfAnotherFormIsRefused) {
  const json contract = json::parse(contract_text());
  EXPECT_EQ("accepted", refusal(contract));
  json other = contract;
  other["formats"]["ledger"] = 1;
  EXPECT_THAT(refusal(other), AllOf(HasSubstr("formats of another version"), HasSubstr("the program that wrote")));
  const auto changed = [&](const char* pointer, const json& value) {
    json copy = contract;
    copy[json::json_pointer(pointer)] = value;
    return copy;
  };
  const std::vector<std::pair<json, std::string>> bad{
      {changed("/format", "baekji-contract-2"), "another form"},
      {changed("/formats/log", 2), "another version"},
      {changed("/newer_key", 1), "other members"},
      {changed("/model/newer_key", 1), "keys that this program does not know"},
      {changed("/model/layers", 200'000), "beyond what this program takes"},
      {changed("/optimizer/lr", "3e-4"), "one spelling"},
      {changed("/optimizer/lr", "0"), "lr > 0"},
      {changed("/optimizer/schedule", "linear"), "a word that this program knows"},
      {changed("/numerics/tensor_grains", 0), "beyond what this program takes"},
      {changed("/numerics/global_batch", 0), "counts from 1"},
      {changed("/numerics/micro_batch", -2), "counts from 1"},
      {changed("/numerics/replicas", 0), "counts from 1"},
      {changed("/numerics/loss_chunk", INT64_MIN), "counts from 1"},
      {changed("/stages", json::array()), "a contract has stages"},
      {changed("/stages/0/from_step", 2), "cannot be"},
      {changed("/stages/0/global_batch", std::int64_t{1} << 40), "cannot be"},
      {changed("/seed", "5"), "seed: an integer of 64 bits"},
      {changed("/seed", -1), "a seed from 0"},
      {changed("/sources", 5), "a contract has sources"},
      {changed("/sources/0/weight", "1.0"), "one spelling"},
      {changed("/sources/0/data_root", "00"), "not a SHA-256 digest"},
      {changed("/sources/0/path", "a"), "keys that this program does not know"},
      {changed("/tokenizer", "00"), "not a SHA-256 digest"},
  };
  for (const auto& [value, reason] : bad) EXPECT_THAT(refusal(value), HasSubstr(reason));
  other = contract;
  other.erase("seed");
  EXPECT_THAT(refusal(other), HasSubstr("other members"));
  for (const json& beacon : {json{{"name", "drand-quicknet"}, {"round", 1000}}, json{{"name", "x"}, {"round", 1}},
                             json{{"name", "drand-quicknet"}, {"round", 0}}, json{{"name", "drand-quicknet"}},
                             json{{"name", "drand-quicknet"}, {"round", 1}, {"value", "00"}}, json("drand-quicknet")}) {
    other["beacon"] = beacon;
    EXPECT_EQ(beacon.is_object() && beacon.value("round", 0) == 1000, refusal(other) == "accepted") << beacon;
  }
}

}  // namespace
}  // namespace baekji::tiny
