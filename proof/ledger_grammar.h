#pragma once
// LedgerGrammar: which record may follow what, and what a record must say. docs/formats/ledger.md fixes it; the outside
// verifier is written from the same page, and both agree on every ledger.

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "proof/kernel_set.h"
#include "proof/ledger_records.h"
#include "proof/skipped_batches.h"

namespace baekji {

/// What of a ledger follows from its contract.
struct LedgerRules {
  Digest contract{};                                             ///< its digest
  std::function<std::int64_t(std::int64_t batch)> position;      ///< sequences of the batches 1 to `batch`
  std::function<std::int64_t(std::int64_t batch)> batch_tokens;  ///< tokens of that batch
  std::function<double(std::int64_t step)> learning_rate;
  std::set<std::string> parameters;       ///< names of all parameters
  std::int64_t max_skipped_batches = -1;  ///< that rollbacks may leave out, together; -1: no limit
  std::int64_t beacon_value_bytes = 0;    ///< of the beacon that the seed comes from; 0: the contract has the seed
};

/// What rollbacks cost, and what they are worth to an owner who would choose the order of the data.
struct RollbackAccount {
  std::int64_t rollbacks = 0;
  std::int64_t steps_undone = 0;  ///< trained and thrown away
  /// log2 of how many (to, from, last) each rollback could have named, added up.
  double freedom_bits = 0;
};

/// Takes the records of a ledger one after another. What it knows is the history that counts.
class LedgerGrammar {
 public:
  /// Without rules what needs the contract is left unchecked: learning rate, position, tokens, names, limits.
  explicit LedgerGrammar(std::optional<LedgerRules> rules = {});

  /// What a record adds. Found before anything changes, so that a refused record leaves no trace.
  struct Change {
    std::optional<GenesisRecord> genesis;
    std::optional<StepRecord> step;
    std::optional<std::pair<Digest, std::int64_t>> root;  ///< of which step
    std::optional<ResumeEvent> resume;
    std::optional<RollbackEvent> rollback;
    SkippedBatches skipped;  ///< with the rollback's
    std::string event;
  };
  /// Throws an Error with `place` unless the record may stand here.
  Change check(std::string_view kind, const nlohmann::json& body, const std::string& place) const;
  void apply(const Change& change);

  const GenesisRecord& genesis() const { return genesis_; }
  std::int64_t last_step() const { return static_cast<std::int64_t>(steps_.size()); }
  const SkippedBatches& skipped() const { return skipped_; }
  /// The root of each committed state, by step; step 0 is genesis's.
  const std::map<std::int64_t, Digest>& state_roots() const { return root_of_step_; }
  /// The first step of the history that counts which has this root.
  std::optional<std::int64_t> step_of_root(const Digest& root) const;
  /// Of a step from 1 to last_step().
  double move_of(std::int64_t step) const { return at(step).move; }
  const KernelSet& kernel_set_of(std::int64_t step) const { return kernel_sets_[at(step).session]; }
  /// Those of the sessions, genesis's first.
  const std::vector<KernelSet>& kernel_sets() const { return kernel_sets_; }
  const RollbackAccount& rollbacks() const { return account_; }
  /// Steps that were trained again and gave another record: a session ended with each.
  std::int64_t divergences() const { return divergences_; }

 private:
  enum class Phase { kNothing, kBegun, kSession, kBetween };
  struct Step {
    std::int64_t tokens = 0;
    std::int64_t updates = 0;
    double move = 0;
    std::size_t session = 0;  // index in kernel_sets_
  };
  const Step& at(std::int64_t step) const { return steps_.at(static_cast<std::size_t>(step - 1)); }

  void require_place(std::string_view kind, const std::string& event, const std::string& place) const;
  Change check_genesis(const nlohmann::json& body, const std::string& place) const;
  Change check_step(const nlohmann::json& body, const std::string& place) const;
  void check_contract_terms(const StepRecord& step, const std::string& place) const;
  Change check_event(const std::string& event, const nlohmann::json& body, const std::string& place) const;
  void check_rollback(Change& change, const std::string& place) const;
  void require_one_root(std::int64_t step, const Digest& root, const std::string& place) const;
  void roll_back(const Change& change);

  std::optional<LedgerRules> rules_;
  Phase phase_ = Phase::kNothing;
  GenesisRecord genesis_;
  std::vector<Step> steps_;
  SkippedBatches skipped_;
  std::map<std::int64_t, Digest> root_of_step_;
  std::vector<KernelSet> kernel_sets_;
  std::size_t session_ = 0;
  std::int64_t resumed_at_ = 0;
  std::int64_t saved_at_ = 0;  // of this session: the last checkpoint event's step, or where it resumed
  RollbackAccount account_;
  std::int64_t divergences_ = 0;
};

}  // namespace baekji
