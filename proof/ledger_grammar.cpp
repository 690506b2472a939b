#include "proof/ledger_grammar.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/functions.h"

namespace baekji {
namespace {

using nlohmann::json;

// Events that later programs write; this one reads them.
bool is_reserved(std::string_view event) {
  return event == "restart" || event == "recheck" || event == "spike" || event == "opened";
}

// Each costs a reader time; no run needs as many.
constexpr std::int64_t kMostRollbacks = 1000;

[[noreturn]] void refuse(std::string what, std::string required, std::string came, const std::string& place) {
  throw Error(std::move(what)).values(std::move(required), std::move(came)).at(place);
}

void require_within(const std::string& what, std::int64_t least, std::int64_t most, std::int64_t came,
                    const std::string& place) {
  if (came < least || came > most)
    refuse(what, most < least ? "no such step yet" : fmt::format("{} to {}", least, most), fmt::format("{}", came),
           place);
}

// log2 of how many (to, from, last) a rollback may name when the run stands at step `last`: with n steps behind `to`
// there are n (n + 1) / 2 ranges.
double rollback_freedom_bits(std::int64_t last) {
  const auto n = static_cast<double>(last);
  constexpr double kBitsPerNat = 1.4426950408889634;
  return kBitsPerNat * log_f64(n * (n + 1) * (n + 2) / 6);
}

}  // namespace

LedgerGrammar::LedgerGrammar(std::optional<LedgerRules> rules) : rules_(std::move(rules)) {}

std::optional<std::int64_t> LedgerGrammar::step_of_root(const Digest& root) const {
  for (const auto& [step, known] : root_of_step_) {
    if (known == root) return step;
  }
  return std::nullopt;
}

LedgerGrammar::Change LedgerGrammar::check(std::string_view kind, const json& body, const std::string& place) const {
  std::string event;
  if (kind == "event") {
    if (!body.is_object() || !body.contains("event") || !body["event"].is_string())
      refuse("an event has no name", "event: text", body.dump().substr(0, 200), place);
    event = body["event"].get<std::string>();
  } else if (kind != "genesis" && kind != "step") {
    refuse("a ledger has no records of that kind", "genesis, step or event", std::string(kind), place);
  }
  require_place(kind, event, place);
  Change change = kind == "genesis" ? check_genesis(body, place)
                  : kind == "step"  ? check_step(body, place)
                                    : check_event(event, body, place);
  if (change.root) require_one_root(change.root->second, change.root->first, place);
  return change;
}

// The order of records: docs/formats/ledger.md, "Order".
void LedgerGrammar::require_place(std::string_view kind, const std::string& event, const std::string& place) const {
  const std::string came = event.empty() ? std::string(kind) : event;
  const auto require = [&](bool holds, const char* allowed) {
    if (!holds) refuse("a record stands where it may not", allowed, came, place);
  };
  const bool begins = event == "resume" || event == "rollback" || event == "restart";
  switch (phase_) {
    case Phase::kNothing:
      return require(kind == "genesis", "genesis first");
    case Phase::kBegun:
      return require(begins || event == "start", "start, resume, rollback or restart after genesis");
    case Phase::kSession:
      return require(kind != "genesis" && event != "start", "one genesis and one start");
    case Phase::kBetween:
      return require(begins, "resume, rollback or restart: no session is open");
  }
}

LedgerGrammar::Change LedgerGrammar::check_genesis(const json& body, const std::string& place) const {
  Change change{.genesis = parse_genesis_body(body, place)};
  change.root = {change.genesis->state_root, 0};
  if (!rules_) return change;
  // First: under another contract every number is wrong, and none of them is the reason.
  require_equal(to_hex(rules_->contract), to_hex(change.genesis->contract), "the ledger belongs to another contract",
                place);
  const auto bytes = static_cast<std::int64_t>(change.genesis->beacon_value.size());
  if (bytes != rules_->beacon_value_bytes)
    refuse("the seed's beacon value is not what the contract asks for",
           rules_->beacon_value_bytes == 0 ? "none: the contract has the seed"
                                           : fmt::format("{} bytes", rules_->beacon_value_bytes),
           fmt::format("{} bytes", bytes), place);
  return change;
}

LedgerGrammar::Change LedgerGrammar::check_step(const json& body, const std::string& place) const {
  Change change{.step = parse_step_body(body, place)};
  const StepRecord& step = *change.step;
  require_equal(last_step() + 1, step.step, "a step of the ledger is missing or stands twice", place);
  const bool is_void = !step.void_tensor.empty();
  const std::int64_t updates = (steps_.empty() ? 0 : steps_.back().updates) + (is_void ? 0 : 1);
  require_equal(updates, step.updates, "updates do not count the steps that were not void", place);
  if (std::signbit(step.gradient_norm) || std::signbit(step.move))
    refuse("a norm has a sign", "gradient_norm and move from +0", body.dump(), place);
  if (is_void && (step.gradient_norm != 0 || step.move != 0))
    refuse("a void step moves nothing", "gradient_norm and move of +0", body.dump(), place);
  if (rules_) check_contract_terms(step, place);
  if (step.state_root) change.root = {*step.state_root, step.step};
  return change;
}

void LedgerGrammar::check_contract_terms(const StepRecord& step, const std::string& place) const {
  const LedgerRules& rules = *rules_;
  const std::int64_t batch = skipped_.batch_of(step.step);
  const std::int64_t tokens = (steps_.empty() ? 0 : steps_.back().tokens) + rules.batch_tokens(batch);
  require_equal(double_bits(rules.learning_rate(step.step)), double_bits(step.learning_rate),
                "the learning rate is not the contract's", place);
  require_equal(rules.position(batch), step.position, "the data position is not that of the step's batch", place);
  require_equal(tokens, step.tokens, "tokens do not add up", place);
  if (!step.void_tensor.empty() && !rules.parameters.contains(step.void_tensor))
    refuse("a void step names no parameter of the model", "a parameter's name", step.void_tensor, place);
}

LedgerGrammar::Change LedgerGrammar::check_event(const std::string& event, const json& body,
                                                 const std::string& place) const {
  Change change{.event = event};
  if (event == "start") {
    parse_start_event(body, place);
  } else if (event == "resume") {
    change.resume = parse_resume_event(body, place);
    if (!root_of_step_.contains(change.resume->step))
      refuse("a run resumes from a state whose root the ledger holds", "a committed step",
             fmt::format("step {}", change.resume->step), place);
  } else if (event == "checkpoint") {
    const CheckpointEvent checkpoint = parse_checkpoint_event(body, place);
    require_within("a checkpoint is of a step of its session", saved_at_ + 1, last_step(), checkpoint.step, place);
    change.root = {checkpoint.state_root, checkpoint.step};
  } else if (event == "rollback") {
    change.rollback = parse_rollback_event(body, place);
    check_rollback(change, place);
  } else if (event == "divergence") {
    const DivergenceEvent divergence = parse_divergence_event(body, place);
    require_within("a divergence is of a step that was trained again", resumed_at_ + 1, last_step(), divergence.step,
                   place);
  } else if (is_reserved(event)) {
    require_within("an event is about a step of the ledger", 0, last_step(), parse_reserved_event(body, place), place);
  } else {
    refuse("the ledger knows no such event", "start, resume, checkpoint, rollback, divergence...", event, place);
  }
  return change;
}

void LedgerGrammar::check_rollback(Change& change, const std::string& place) const {
  const RollbackEvent& rollback = *change.rollback;
  if (account_.rollbacks >= kMostRollbacks)
    refuse("a run rolls back too often", fmt::format("at most {} rollbacks", kMostRollbacks), "another", place);
  require_within("a rollback goes back to a step of the ledger", 0, last_step(), rollback.to, place);
  const std::int64_t before = skipped_.batch_of(rollback.to);
  const std::int64_t newest = skipped_.batch_of(last_step());
  if (rollback.skip.from <= before || rollback.skip.to < rollback.skip.from || rollback.skip.to > newest)
    throw Error("a rollback leaves out batches that were trained on behind its step")
        .values(newest > before ? fmt::format("a range within {} to {}", before + 1, newest)
                                : fmt::format("nothing: no step follows step {}", rollback.to),
                fmt::format("{} to {}", rollback.skip.from, rollback.skip.to))
        .at(place);
  std::vector<BatchRange> ranges = skipped_.ranges();
  ranges.push_back(rollback.skip);
  change.skipped = SkippedBatches(std::move(ranges));
  if (!rules_ || rules_->max_skipped_batches < 0) return;
  const std::int64_t left_out = change.skipped.count();
  if (left_out > rules_->max_skipped_batches)
    throw Error("rollbacks would leave out more batches than the contract allows")
        .values(fmt::format("at most {} (experiment.max_skipped_batches)", rules_->max_skipped_batches),
                fmt::format("{}", left_out))
        .at(place);
}

void LedgerGrammar::require_one_root(std::int64_t step, const Digest& root, const std::string& place) const {
  const auto known = root_of_step_.find(step);
  if (known == root_of_step_.end() || known->second == root) return;
  refuse(fmt::format("the ledger holds two states of step {}", step), to_hex(known->second), to_hex(root), place);
}

void LedgerGrammar::apply(const Change& change) {
  if (change.genesis) {
    genesis_ = *change.genesis;
    kernel_sets_ = {genesis_.kernel_set};
    phase_ = Phase::kBegun;
  }
  if (change.step)
    steps_.push_back({.tokens = change.step->tokens,
                      .updates = change.step->updates,
                      .move = change.step->move,
                      .session = session_});
  if (change.root) root_of_step_[change.root->second] = change.root->first;
  if (change.event == "checkpoint") saved_at_ = change.root->second;
  if (change.event == "start") phase_ = Phase::kSession;
  if (change.resume) {
    kernel_sets_.push_back(change.resume->kernel_set);
    session_ = kernel_sets_.size() - 1;
    resumed_at_ = saved_at_ = change.resume->step;
    phase_ = Phase::kSession;
  }
  if (change.event == "divergence") {
    ++divergences_;
    phase_ = Phase::kBetween;
  }
  if (change.event == "restart" && phase_ != Phase::kSession) phase_ = Phase::kBetween;
  if (change.rollback) roll_back(change);
}

void LedgerGrammar::roll_back(const Change& change) {
  const std::int64_t to = change.rollback->to;
  ++account_.rollbacks;
  account_.steps_undone += last_step() - to;
  account_.freedom_bits += rollback_freedom_bits(last_step());
  steps_.resize(static_cast<std::size_t>(to));
  root_of_step_.erase(root_of_step_.upper_bound(to), root_of_step_.end());
  skipped_ = change.skipped;
  phase_ = Phase::kBetween;
}

}  // namespace baekji
