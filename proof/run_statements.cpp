#include "proof/run_statements.h"

#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "proof/contract.h"
#include "proof/log.h"

namespace baekji {
namespace {

using nlohmann::json;

// The history that counts after some of a ledger's lines, and what they say of one step.
struct History {
  std::int64_t last_step = 0;
  std::map<std::int64_t, std::string> roots;
  std::int64_t root_record = -1;  // where the step's root stands first
  std::int64_t tokens = 0;        // of the step's record
};

History history_of(const Ledger& ledger, std::int64_t records, std::int64_t wanted = -1) {
  History h;
  h.roots[0] = to_hex(ledger.genesis().state_root);
  const auto take_root = [&](std::int64_t index, std::int64_t step, const json& root) {
    h.roots[step] = root.get<std::string>();
    if (step == wanted && h.root_record < 0) h.root_record = index;
  };
  ledger.for_each([&](std::int64_t index, const std::string& kind, const json& body) {
    if (index >= records) return;
    if (kind == "step") {
      h.last_step = body.at("step").get<std::int64_t>();
      if (h.last_step == wanted) h.tokens = body.at("tokens").get<std::int64_t>();
      if (body.contains("state_root")) take_root(index, h.last_step, body["state_root"]);
    } else if (kind == "event" && body.at("event") == "checkpoint") {
      take_root(index, body.at("step").get<std::int64_t>(), body.at("state_root"));
    } else if (kind == "event" && body.at("event") == "rollback") {
      h.last_step = body.at("to").get<std::int64_t>();
      h.roots.erase(h.roots.upper_bound(h.last_step), h.roots.end());
      if (wanted > h.last_step) h.root_record = -1;
    }
  });
  return h;
}

}  // namespace

json contract_statement(const Ledger& ledger, std::string_view contract) {
  const AttestedSubject subject{.name = "contract.json", .digest = contract_digest(contract)};
  require_equal(to_hex(ledger.genesis().contract), to_hex(subject.digest),
                "contract.json is not the contract of the ledger", "contract.json");
  return in_toto_statement(std::span(&subject, 1), kContractPredicate,
                           {{"contract", parse_canonical_json(contract, "contract.json")},
                            {"genesis_state_root", to_hex(ledger.genesis().state_root)},
                            {"kernel_set", to_hex(kernel_set_digest(ledger.genesis().kernel_set))}});
}

json chain_statement(const Ledger& ledger, std::int64_t records) {
  if (records < 1 || records > ledger.record_count()) {
    throw Error("the ledger has not so many records")
        .values(fmt::format("1 to {}", ledger.record_count()), fmt::format("{}", records))
        .at("ledger.jsonl");
  }
  const History history = history_of(ledger, records);
  const std::string head = ledger.head_after(records);
  json roots = json::array();
  for (const auto& [step, root] : history.roots) roots.push_back({{"step", step}, {"state_root", root}});
  const AttestedSubject subject{.name = "ledger.jsonl#last-line", .digest = parse_digest(head)};
  return in_toto_statement(std::span(&subject, 1), kChainPredicate,
                           {{"contract", to_hex(ledger.genesis().contract)},
                            {"head", head},
                            {"records", records},
                            {"first_step", history.last_step == 0 ? 0 : 1},
                            {"last_step", history.last_step},
                            {"state_roots", roots}});
}

json release_statement(const Ledger& ledger, const Release& release, std::span<const AttestedSubject> files) {
  if (release.step < 1)
    throw Error("a release is of a trained state").values("step >= 1", fmt::format("{}", release.step));
  const History history = history_of(ledger, ledger.record_count(), release.step);
  const auto root = history.roots.find(release.step);
  if (root == history.roots.end() || release.step > history.last_step) {
    throw Error("the ledger holds no state of the released step")
        .values("a state root in the history that counts", fmt::format("step {}", release.step))
        .at("ledger.jsonl");
  }
  if (release.records <= history.root_record) {
    throw Error("the head of a release lies before its state")
        .values(fmt::format("more than {} records, the last of which holds the root", history.root_record),
                fmt::format("{}", release.records))
        .at("ledger.jsonl");
  }
  return in_toto_statement(files, kReleasePredicate,
                           {{"contract", to_hex(ledger.genesis().contract)},
                            {"ledger_head", ledger.head_after(release.records)},
                            {"state_root", root->second},
                            {"step", release.step},
                            {"tokens", history.tokens},
                            {"kernel_set", to_hex(kernel_set_digest(ledger.kernel_set_of(release.step)))},
                            {"form", release.form},
                            {"dtype", release.dtype},
                            {"shard_bytes", release.shard_bytes}});
}

std::int64_t records_up_to(const std::filesystem::path& ledger, std::string_view head) {
  LedgerLines lines(ledger);
  std::int64_t records = 0;
  while (const auto line = lines.next()) {
    records += 1;
    if (to_hex(sha256(*line)) == head) return records;
  }
  return 0;
}

}  // namespace baekji
