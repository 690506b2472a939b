// Every rule of docs/formats/ledger.md as a continuation that breaks it, each with the reason that must be given.

#include "proof/ledger_grammar.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace baekji {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr std::int64_t kSequences = 4;  // of a batch

KernelSet kernels(const char* compiler) {
  return {.device = "cpu", .processor = "p", .instruction_set = "x86_64", .compiler = compiler};
}

std::int64_t tokens_of(std::int64_t batch) {
  return batch <= 5 ? 32 : 64;  // a stage begins at batch 6
}

LedgerRules sample_rules() {
  return {.contract = sha256("contract"),
          .position = [](std::int64_t batch) { return batch * kSequences; },
          .batch_tokens = tokens_of,
          .learning_rate = [](std::int64_t step) { return 0.125 * static_cast<double>(step); },
          .parameters = {"embedding", "head"},
          .max_skipped_batches = 3};
}

json genesis() {
  return genesis_body(
      {.contract = sha256("contract"), .state_root = sha256("state 0"), .kernel_set = kernels("gcc 12.2.0")});
}

json event(const char* name, json members) {
  members["event"] = name;
  return members;
}
json checkpoint(std::int64_t step) {
  return event("checkpoint", checkpoint_details({.step = step, .state_root = sha256(fmt::format("state {}", step))}));
}
json rollback(std::int64_t to, std::int64_t from, std::int64_t last) {
  return event("rollback", rollback_details({.to = to, .skip = {.from = from, .to = last}}));
}
json resume(std::int64_t step) {
  return event("resume", resume_details({.step = step, .kernel_set = kernels("gcc 13.1.0"), .layout = "two ranks"}));
}
json divergence(std::int64_t step) {
  return event("divergence", divergence_details({.step = step, .members = {"loss"}}));
}
json about(const char* name, std::int64_t step) {
  return event(name, {{"step", step}});
}

json with(json body, const json& members) {
  body.update(members);
  return body;
}
json without(json body, const std::string& name) {
  body.erase(name);
  return body;
}

// A grammar with what it needs to write honest steps.
class History {
 public:
  explicit History(std::optional<LedgerRules> rules = sample_rules()) : grammar(std::move(rules)) {}

  History& add(const char* kind, const json& body) {
    grammar.apply(grammar.check(kind, body, "test"));
    return *this;
  }
  History& add(const json& event) { return add("event", event); }
  History& begin() { return add("genesis", genesis()).add(event("start", start_details("one rank"))); }

  json next_step() const {
    const std::int64_t step = grammar.last_step() + 1;
    std::int64_t tokens = 0;
    for (std::int64_t i = 1; i <= step; ++i) tokens += tokens_of(grammar.skipped().batch_of(i));
    const std::int64_t batch = grammar.skipped().batch_of(step);
    StepRecord record{.step = step,
                      .batch_root = sha256(fmt::format("batch {}", batch)),
                      .loss = 2,
                      .gradient_norm = 1.5,
                      .learning_rate = 0.125 * static_cast<double>(step),
                      .move = 0.25 * static_cast<double>(step),
                      .position = batch * kSequences,
                      .tokens = tokens,
                      .updates = step};
    if (step % 2 == 0) record.state_root = sha256(fmt::format("state {}", step));
    return step_body(record);
  }
  History& steps(std::int64_t last) {
    while (grammar.last_step() < last) add("step", next_step());
    return *this;
  }

  LedgerGrammar grammar;
};

/// Six steps in one session, with a checkpoint of step 3.
History six_steps() {
  History history;
  history.begin().steps(6).add(checkpoint(3));
  return history;
}

std::string refusal(const LedgerGrammar& grammar, const std::string& kind, const json& body) {
  try {
    (void)grammar.check(kind, body, "line 7");
  } catch (const Error& error) {
    EXPECT_EQ("line 7", error.where()) << error.what();
    return error.what();
  }
  return "accepted";
}

struct Bad {
  std::string kind;
  json body;
  std::string reason;
};

void expect_refused(const LedgerGrammar& grammar, const std::vector<Bad>& continuations) {
  for (const Bad& bad : continuations)
    EXPECT_THAT(refusal(grammar, bad.kind, bad.body), HasSubstr(bad.reason)) << bad.kind << " " << bad.body.dump();
}
void expect_events_refused(const LedgerGrammar& grammar, std::vector<std::pair<json, std::string>> events) {
  for (const auto& [body, reason] : events) expect_refused(grammar, std::vector<Bad>{{"event", body, reason}});
}

TEST(LedgerGrammar, WhatAGenesisMustSay) {
  const json seed = {{"seed", {{"value", std::string(64, 'a')}}}};
  const std::string foreign = "members that do not belong";
  expect_refused(LedgerGrammar(sample_rules()),
                 std::vector<Bad>{{"genesis", with(genesis(), {{"format", "baekji.ledger.v1"}}), "another format"},
                                  {"genesis", with(genesis(), {{"contract", to_hex(sha256("x"))}}), "another contract"},
                                  {"genesis", with(genesis(), seed), "none: the contract has the seed"},
                                  {"genesis", with(genesis(), {{"host", "a"}}), foreign},
                                  {"genesis", with(genesis(), {{"contract", std::string(64, 'A')}}), "line 7"},
                                  {"genesis", without(genesis(), "state_root"), "not the body of a genesis record"},
                                  {"genesis", without(genesis(), "kernel_set"), "not the body of a genesis record"}});
  LedgerRules beacon = sample_rules();
  beacon.beacon_value_bytes = 32;
  const LedgerGrammar drawn(beacon);
  EXPECT_THAT(refusal(drawn, "genesis", genesis()), HasSubstr("32 bytes"));
  for (const std::size_t digits : {62, 66})
    EXPECT_THAT(refusal(drawn, "genesis", with(genesis(), {{"seed", {{"value", std::string(digits, 'a')}}}})),
                HasSubstr("not what the contract asks for"));
  EXPECT_EQ("accepted", refusal(drawn, "genesis", with(genesis(), seed)));
}

TEST(LedgerGrammar, WhatMayFollowWhat) {
  const std::string misplaced = "a record stands where it may not";
  const json start = event("start", start_details("one rank"));
  const std::vector<json> of_a_session{checkpoint(1), divergence(1), about("recheck", 0), about("spike", 0),
                                       about("opened", 0)};
  const auto expect_none = [&](const LedgerGrammar& grammar, bool start_too) {
    for (const json& body : of_a_session) EXPECT_THAT(refusal(grammar, "event", body), HasSubstr(misplaced)) << body;
    EXPECT_THAT(refusal(grammar, "step", History().begin().next_step()), HasSubstr(misplaced));
    EXPECT_THAT(refusal(grammar, "genesis", genesis()), HasSubstr(misplaced));
    if (start_too) {
      EXPECT_THAT(refusal(grammar, "event", start), HasSubstr(misplaced));
    }
  };

  History history;
  expect_refused(history.grammar, std::vector<Bad>{{"step", history.next_step(), "genesis first"},
                                                   {"event", start, "genesis first"},
                                                   {"event", resume(0), "genesis first"},
                                                   {"note", genesis(), "no records of that kind"},
                                                   {"Step", genesis(), "no records of that kind"},
                                                   {"", genesis(), "no records of that kind"}});
  history.add("genesis", genesis());
  expect_none(history.grammar, false);
  EXPECT_EQ("accepted", refusal(history.grammar, "event", resume(0)));
  History interrupted = history;
  interrupted.add(about("restart", 0));
  expect_none(interrupted.grammar, true);

  history.add(start);
  expect_refused(history.grammar, std::vector<Bad>{{"genesis", genesis(), "one genesis and one start"},
                                                   {"event", start, "one genesis and one start"}});
  history.steps(6);
  for (const json& end : {rollback(4, 5, 5), divergence(5)}) {
    History between = history;
    between.add(end);
    expect_none(between.grammar, true);
    between.add(about("restart", 1));
    expect_none(between.grammar, true);
    between.add(resume(4)).steps(7);
  }
  history.add(about("restart", 6)).steps(7);  // within a session it ends nothing
}

TEST(LedgerGrammar, WhatAStepMustSay) {
  History history = six_steps();
  const json next = history.next_step();
  const json empty = {{"gradient_norm", double_bits(0)}, {"move", double_bits(0)}, {"updates", 6}};
  const json nothing = with(with(next, empty), {{"void", true}, {"void_tensor", "head"}});
  const std::string foreign = "members that do not belong", shape = "not the body of a step record";
  std::vector<Bad> bad;
  const auto add = [&](const json& base, const json& members, const std::string& reason) {
    bad.push_back({"step", with(base, members), reason});
  };
  for (const int step : {0, 1, 6, 8}) add(next, {{"step", step}}, "missing or stands twice");
  for (const int updates : {6, 8}) add(next, {{"updates", updates}}, "updates do not count");
  add(nothing, {{"updates", 7}}, "updates do not count");
  for (const char* norm : {"gradient_norm", "move"}) {
    add(next, {{norm, double_bits(-0.0)}}, "a norm has a sign");
    add(next, {{norm, double_bits(-1.5)}}, "a norm has a sign");
    add(nothing, {{norm, double_bits(5e-324)}}, "a void step moves nothing");
  }
  add(nothing, {{"void_tensor", "x"}}, "names no parameter of the model");
  add(nothing, {{"void_tensor", ""}}, foreign);
  add(nothing, {{"void", false}, {"updates", 7}}, foreign);
  bad.push_back({"step", without(nothing, "void_tensor"), shape});
  add(next, {{"learning_rate", double_bits(std::nextafter(0.875, 1))}}, "the learning rate is not the contract's");
  for (const int by : {-1, 1}) {
    add(next, {{"position", 7 * kSequences + by}}, "the data position is not that of the step's batch");
    add(next, {{"tokens", next["tokens"].get<int>() + by}}, "tokens do not add up");
  }
  add(next, {{"host", "a"}}, foreign);
  for (const char* bits : {"loss", "gradient_norm", "learning_rate", "move"}) {
    for (const char* text : {"3FF0000000000000", "3ff", "7ff800000000000g"}) add(next, {{bits, text}}, "not the bits");
    add(next, {{bits, "7ff8000000000001"}}, foreign);  // a NaN has one spelling
    add(next, {{bits, 1}}, shape);
  }
  for (const char* count : {"step", "position", "tokens", "updates"}) {
    for (const json& value : {json(-1), json(true), json("7"), json(std::uint64_t{1} << 63U), json()})
      add(next, {{count, value}}, "member of the wrong type");
  }
  add(next, {{"void", 0}}, shape);
  add(next, {{"batch_root", std::string(64, 'A')}}, "line 7");
  for (const auto& [name, value] : next.items()) bad.push_back({"step", without(next, name), shape});
  expect_refused(history.grammar, bad);

  EXPECT_EQ("accepted", refusal(history.grammar, "step", nothing));
  EXPECT_EQ("accepted", refusal(history.grammar, "step", with(next, {{"loss", double_bits(std::nan(""))}})));
  history.add("step", next);
  EXPECT_EQ(7, history.grammar.last_step()) << "what was refused left no trace";
}

TEST(LedgerGrammar, WhatEventsMustSay) {
  const History history = six_steps();
  const json torn = with(resume(4), {{"torn_bytes", 0}});
  const std::string foreign = "members that do not belong", shape = "not the body of a resume event";
  const std::string outside = "a checkpoint is of a step of its session", about_step = "about a step of the ledger";
  expect_events_refused(history.grammar,
                        {{json::object(), "an event has no name"},
                         {{{"event", 1}}, "an event has no name"},
                         {about("anomaly", 6), "the ledger knows no such event"},
                         {about("Checkpoint", 6), "the ledger knows no such event"},
                         {resume(5), "whose root the ledger holds"},
                         {resume(7), "whose root the ledger holds"},
                         {torn, foreign},
                         {with(resume(4), {{"problems", {1}}}), shape},
                         {with(resume(4), {{"problems", "one"}}), "an array"},
                         {with(resume(4), {{"kernel_set_differences", json::array()}}), foreign},
                         {without(resume(4), "kernel_set"), shape},
                         {without(resume(4), "layout"), shape},
                         {with(resume(4), {{"kernel_set", "00"}}), "line 7"},
                         {checkpoint(0), outside},
                         {checkpoint(2), outside},
                         {checkpoint(3), outside},
                         {checkpoint(7), outside},
                         {with(checkpoint(4), {{"state_root", to_hex(sha256("x"))}}), "two states of step 4"},
                         {with(checkpoint(4), {{"by", "a"}}), foreign},
                         {divergence(0), "trained again"},
                         {divergence(7), "trained again"},
                         {with(divergence(6), {{"members", {1}}}), "not the body of a divergence event"},
                         {without(divergence(6), "members"), "not the body of a divergence event"}});
  for (const char* kept : {"restart", "recheck", "spike", "opened"}) {
    expect_events_refused(history.grammar,
                          {{about(kept, 7), about_step},
                           {with(about(kept, 6), {{"hosts", {"node17"}}}), "line 7"},
                           {with(about(kept, 6), {{"hosts", {std::string(64, 'A')}}}), "line 7"},
                           {with(about(kept, 6), {{"details", 1}}), "not the body of a reserved event"},
                           {with(about(kept, 6), {{"host", "a"}}), foreign}});
    const json whole = with(about(kept, 0), {{"hosts", {to_hex(sha256("salt"))}}, {"details", "said"}});
    EXPECT_EQ("accepted", refusal(history.grammar, "event", whole)) << kept;
  }
}

TEST(LedgerGrammar, ASessionCountsFromWhereItResumed) {
  History history = six_steps();
  history.add(resume(4));
  expect_events_refused(history.grammar, {{checkpoint(4), "a checkpoint is of a step of its session"},
                                          {checkpoint(3), "a checkpoint is of a step of its session"},
                                          {divergence(4), "trained again"}});
  EXPECT_EQ("accepted", refusal(history.grammar, "event", divergence(5)));
  history.add(checkpoint(5)).add(resume(5)).steps(7);
  EXPECT_THAT(refusal(history.grammar, "event", checkpoint(5)), HasSubstr("of its session"));
  EXPECT_EQ("gcc 12.2.0", history.grammar.kernel_set_of(6).compiler) << "of the session that recorded it";
  EXPECT_EQ("gcc 13.1.0", history.grammar.kernel_set_of(7).compiler);
  EXPECT_EQ(3U, history.grammar.kernel_sets().size());
  EXPECT_EQ(1.75, history.grammar.move_of(7));
}

TEST(LedgerGrammar, WhatARollbackMayLeaveOut) {
  History history = six_steps();
  const std::string untrained = "leaves out batches that were trained on behind its step";
  expect_events_refused(history.grammar,
                        {{rollback(7, 7, 7), "goes back to a step of the ledger"},
                         {rollback(4, 4, 4), untrained},
                         {rollback(4, 5, 7), untrained},
                         {rollback(4, 6, 5), untrained},
                         {rollback(6, 6, 6), untrained},
                         {rollback(6, 7, 7), "nothing: no step follows step 6"},
                         {rollback(0, 0, 1), untrained},
                         {rollback(2, 3, 6), "more batches than the contract allows"},
                         {with(rollback(4, 5, 5), {{"to", -1}}), "member of the wrong type"},
                         {with(rollback(4, 5, 5), {{"skip", {5}}}), "skips one range"},
                         {with(rollback(4, 5, 5), {{"skip", {5, 5, 5}}}), "skips one range"},
                         {with(rollback(4, 5, 5), {{"skip", {5, "6"}}}), "skips one range"},
                         {with(rollback(4, 5, 5), {{"skip", {5, true}}}), "skips one range"},
                         {with(rollback(4, 5, 5), {{"why", "a spike"}}), "members that do not belong"}});
  EXPECT_EQ("accepted", refusal(history.grammar, "event", rollback(5, 6, 6))) << "step 5 needs no root";
  history.add(rollback(3, 4, 5));
  EXPECT_EQ(3, history.grammar.last_step());
  EXPECT_THAT(refusal(history.grammar, "event", resume(4)), HasSubstr("whose root")) << "its root is undone";
  history.add(resume(3));
  EXPECT_THAT(refusal(history.grammar, "step", with(history.next_step(), {{"position", 4 * kSequences}})),
              HasSubstr("position"));
  history.steps(5);  // batches 6 and 7
  expect_events_refused(history.grammar, {{rollback(3, 6, 7), "more batches than the contract allows"},
                                          {rollback(4, 6, 6), untrained},
                                          {rollback(4, 7, 8), untrained}});
  EXPECT_EQ("accepted", refusal(history.grammar, "event", rollback(3, 4, 5))) << "out already: it changes no batch";
  history.add(rollback(4, 7, 7)).add(resume(3)).steps(5);

  const LedgerGrammar& grammar = history.grammar;
  EXPECT_EQ(3, grammar.skipped().count());
  EXPECT_EQ(8, grammar.skipped().batch_of(5));
  EXPECT_EQ(2, grammar.rollbacks().rollbacks);
  EXPECT_EQ(3 + 1, grammar.rollbacks().steps_undone);
  EXPECT_NEAR(std::log2(6 * 7 * 8 / 6.0) + std::log2(5 * 6 * 7 / 6.0), grammar.rollbacks().freedom_bits, 1e-12);
}

TEST(LedgerGrammar, ALimitOfNoneAndARunThatRollsBackTooOften) {
  LedgerRules rules = sample_rules();
  rules.max_skipped_batches = 0;
  History none(rules);
  none.begin().steps(3);
  EXPECT_THAT(refusal(none.grammar, "event", rollback(2, 3, 3)), HasSubstr("at most 0"));

  rules.max_skipped_batches = -1;
  History often(rules);
  often.begin();
  for (std::int64_t i = 1; i <= 1000; ++i) often.steps(1).add(rollback(0, i, i)).add(resume(0));
  often.steps(1);
  EXPECT_THAT(refusal(often.grammar, "event", rollback(0, 1001, 1001)), HasSubstr("at most 1000 rollbacks"));
}

TEST(LedgerGrammar, WithoutAContractWhatFollowsFromItIsLeft) {
  History history(std::nullopt);
  history.begin().steps(6);
  const json other = {{"learning_rate", double_bits(7)}, {"position", 1}, {"tokens", 1}};
  EXPECT_EQ("accepted", refusal(history.grammar, "step", with(history.next_step(), other)));
  EXPECT_EQ("accepted", refusal(history.grammar, "event", rollback(0, 1, 6)));
  expect_refused(history.grammar,
                 std::vector<Bad>{{"step", with(history.next_step(), {{"updates", 9}}), "updates do not count"},
                                  {"step", with(history.next_step(), {{"step", 9}}), "missing or stands twice"},
                                  {"event", checkpoint(9), "of its session"}});
}

}  // namespace
}  // namespace baekji
