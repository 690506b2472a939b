#pragma once
// VerifyReport: one line for each check of a verification, and whether all of them passed.

#include <fmt/format.h>

#include <functional>
#include <string>
#include <string_view>

#include "core/printable.h"

namespace baekji {

class VerifyReport {
 public:
  using Say = std::function<void(const std::string&)>;
  explicit VerifyReport(Say say) : say_(std::move(say)) {}

  void pass(std::string_view check, const std::string& text) { line("ok", check, text); }
  void note(std::string_view check, const std::string& text) { line("note", check, text); }
  void fail(std::string_view check, const std::string& text) {
    passed_ = false;
    line("FAIL", check, text);
  }
  bool passed() const { return passed_; }

 private:
  void line(std::string_view verdict, std::string_view check, const std::string& text) const {
    if (say_) say_(fmt::format("{:<5} {:<10} {}", verdict, check, printable_lines(text)));
  }

  Say say_;
  bool passed_ = true;
};

}  // namespace baekji
