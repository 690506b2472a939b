#pragma once
// VerifyReport: one line for each check of a verification, and the last line: what was verified, what was not, and what
// nobody asked for.

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace baekji {

/// How a verification ends, as the exit status of the program says it.
enum class VerifyOutcome {
  kVerified = 0,  ///< everything that was asked for was checked in full, and passed
  kFailed = 1,    ///< something did not pass
  kPartly = 2,    ///< nothing failed, but something that was asked for could not be checked
};

class VerifyReport {
 public:
  using Say = std::function<void(const std::string&)>;
  /// Lines go to `say`; without one the report only counts.
  explicit VerifyReport(Say say) : say_(std::move(say)) {}

  /// What --require can name. A check's own name is one of these, or belongs to one ("batches" and "documents" to
  /// "data").
  static const std::vector<std::string>& names();
  /// Throws, as a mistake in the call, unless every name is one of names().
  void require(const std::vector<std::string>& wanted);

  /// Checked, and so it is. `what` stands in the last line; without one the check's name does.
  void pass(std::string_view check, const std::string& text, const std::string& what = "");
  /// Worth knowing; proves nothing, and nothing was asked for that is missing.
  void note(std::string_view check, const std::string& text);
  /// Asked for and not checked, with what it would take.
  void left(std::string_view check, const std::string& text);
  /// Checked, and it is not so.
  void fail(std::string_view check, const std::string& text);

  /// A line of a part of a check, which is told as a whole elsewhere.
  void tell(std::string_view verdict, std::string_view check, const std::string& text) const;

  /// Turns what was required and is not proved into failures. Before the last line.
  void hold_to_requirements();
  VerifyOutcome outcome() const;
  bool passed() const { return outcome() == VerifyOutcome::kVerified; }
  /// "verified: ...; not asked: ...", "partly verified: ..." or "NOT verified: ...".
  std::string last_line() const;

 private:
  using Checks = std::vector<std::pair<std::string, std::string>>;  // the check, what the last line says of it
  bool proved(const std::string& name) const;
  std::string composed_last_line() const;

  Say say_;
  std::set<std::string> required_;
  Checks passed_, left_, failed_;
};

}  // namespace baekji
