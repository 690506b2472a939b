#include "trainer/verify_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/printable.h"

namespace baekji {
namespace {

// Lines whose name is not that of what they prove.
std::string fact_of(std::string_view check) {
  static const std::map<std::string, std::string, std::less<>> kFacts{
      {"batches", "data"},      {"documents", "data"},     {"stores", "data"},
      {"seed", "seed-proved"},  {"kernels", "kernel-set"}, {"rollbacks", "no-rollback"},
      {"segment", "challenge"}, {"moves", "challenge"},    {"states", "challenge"}};
  const auto it = kFacts.find(check);
  return it == kFacts.end() ? std::string(check) : it->second;
}

// What a run is, not what somebody did to it: nobody has to ask, and nobody is told that nobody asked.
bool is_property(std::string_view name) {
  return name == "kernel-set" || name == "no-rollback";
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

bool holds(const std::vector<std::pair<std::string, std::string>>& checks, const std::string& fact) {
  return std::any_of(checks.begin(), checks.end(), [&](const auto& check) { return fact_of(check.first) == fact; });
}

// Each text once, in order.
std::string listed(const std::vector<std::pair<std::string, std::string>>& checks, std::string_view separator) {
  std::vector<std::string> texts;
  for (const auto& [check, what] : checks) {
    if (std::find(texts.begin(), texts.end(), what) == texts.end()) texts.push_back(what);
  }
  return texts.empty() ? "nothing" : fmt::format("{}", fmt::join(texts, separator));
}

}  // namespace

const std::vector<std::string>& VerifyReport::names() {
  static const std::vector<std::string> kNames{"ledger",   "contract",  "tokenizer",  "genesis",
                                               "data",     "log",       "witnessed",  "seed-proved",
                                               "attested", "challenge", "kernel-set", "no-rollback"};
  return kNames;
}

void VerifyReport::require(const std::vector<std::string>& wanted) {
  for (const std::string& name : wanted) {
    if (std::find(names().begin(), names().end(), name) == names().end())
      throw Error("nothing of this name can be required")
          .values(fmt::format("some of {}", fmt::join(names(), ",")), name)
          .at("--require");
    required_.insert(name);
  }
}

void VerifyReport::pass(std::string_view check, const std::string& text, const std::string& what) {
  passed_.emplace_back(check, what.empty() ? fact_of(check) : what);
  tell("ok", check, text);
}

void VerifyReport::note(std::string_view check, const std::string& text) {
  tell("note", check, text);
}

void VerifyReport::left(std::string_view check, const std::string& text) {
  left_.emplace_back(check, fmt::format("{}: {}", fact_of(check), first_line(text)));
  tell("left", check, text);
}

void VerifyReport::fail(std::string_view check, const std::string& text) {
  failed_.emplace_back(check, fmt::format("{}: {}", check, first_line(text)));
  tell("FAIL", check, text);
}

bool VerifyReport::proved(const std::string& name) const {
  return holds(passed_, name) && !holds(left_, name) && !holds(failed_, name);
}

void VerifyReport::hold_to_requirements() {
  for (const std::string& name : required_) {
    if (proved(name) || holds(failed_, name)) continue;
    fail("require", fmt::format("{} is required, and {}", name,
                                holds(left_, name)  ? "was not checked in full"
                                : is_property(name) ? "is not so"
                                                    : "is not proved"));
  }
}

VerifyOutcome VerifyReport::outcome() const {
  if (!failed_.empty()) return VerifyOutcome::kFailed;
  return left_.empty() ? VerifyOutcome::kVerified : VerifyOutcome::kPartly;
}

// Whatever stands in a text: one line.
std::string VerifyReport::last_line() const {
  return printable(composed_last_line());
}

std::string VerifyReport::composed_last_line() const {
  if (outcome() == VerifyOutcome::kFailed) return "NOT verified: " + listed(failed_, "; ");
  if (outcome() == VerifyOutcome::kPartly)
    return fmt::format("partly verified: {}; not verified: {}", listed(passed_, ", "), listed(left_, "; "));
  std::vector<std::string> unasked;
  for (const std::string& name : names()) {
    if (!is_property(name) && !holds(passed_, name)) unasked.push_back(name);
  }
  return fmt::format("verified: {}; not asked: {}", listed(passed_, ", "),
                     unasked.empty() ? "nothing" : fmt::format("{}", fmt::join(unasked, ", ")));
}

void VerifyReport::tell(std::string_view verdict, std::string_view check, const std::string& text) const {
  if (say_) say_(fmt::format("{:<5} {:<10} {}", verdict, check, printable_lines(text)));
}

}  // namespace baekji
