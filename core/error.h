#pragma once
// The project's one error type. An error says what was required, what came (both values), where, and one hint.

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace baekji {

/// The only exception the project throws. Build it in one expression:
///   throw Error("heads must be divisible by kv_heads").values("heads = 6", "kv_heads = 4").at("x.toml
///   [model]").hint("...");
/// `what()` is the whole text, several lines, ready to print: what came from a file is escaped (core/printable.h).
class Error : public std::exception {
 public:
  explicit Error(std::string problem) : problem_(std::move(problem)) { compose(); }

  /// The two values that disagree.
  Error& values(std::string_view required, std::string_view came) {
    required_ = required;
    came_ = came;
    return compose();
  }
  /// File, key, tensor, rank: where the disagreement was found.
  Error& at(std::string_view place) {
    where_ = place;
    return compose();
  }
  /// One thing to try.
  Error& hint(std::string_view advice) {
    hint_ = advice;
    return compose();
  }

  const char* what() const noexcept override { return text_.c_str(); }
  const std::string& problem() const { return problem_; }
  const std::string& where() const { return where_; }

 private:
  Error& compose();

  std::string problem_, required_, came_, where_, hint_, text_;
};

/// Throws an Error with both values when they differ. For invariants at boundaries (files, arguments), in all builds.
template <class A, class B>
void require_equal(const A& required, const B& came, std::string_view problem, std::string_view where) {
  if (!(required == came)) {
    throw Error(std::string(problem)).values(fmt::format("{}", required), fmt::format("{}", came)).at(where);
  }
}

}  // namespace baekji
