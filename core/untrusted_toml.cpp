#include "core/untrusted_toml.h"

#include <algorithm>
#include <cstdint>

#include "core/error.h"

namespace baekji {
namespace {

// Walks over a text as a TOML parser would, up to the first mistake in it; no parser goes on behind one.
class TomlScan {
 public:
  TomlScan(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  void run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'')
        skip_string(c);
      else if (c == '#')
        at_ = std::min(text_.find('\n', at_), text_.size());
      else
        take(c);
    }
  }

 private:
  void take(char c) {
    ++at_;
    if (c == '[' || c == '{') ++depth_;
    if (c == ']' || c == '}') --depth_;
    if (c == '.') {
      ++parts_;
    } else if (c == '\n' || c == '=' || c == ',' || c == '[' || c == ']' || c == '{' || c == '}') {
      parts_ = 1;
    }
    if (c == '\n') ++line_;
    if (depth_ <= kMostTomlDepth && parts_ <= kMostTomlDepth) return;
    throw Error("TOML that nests too deeply")
        .values(fmt::format("at most {} levels, and {} parts of a key", kMostTomlDepth, kMostTomlDepth), "more")
        .at(fmt::format("{}, line {}", place_, line_));
  }

  // Three quotes open a text of several lines; of up to five at its end the last three close it.
  void skip_string(char quote) {
    const std::string three(3, quote);
    const bool is_long = text_.substr(at_).starts_with(three);
    at_ += is_long ? 3 : 1;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n') {
        if (!is_long) return;  // a mistake: no text of one line goes on
        ++line_;
      }
      if (c == '\\' && quote == '"') {
        if (at_ + 1 < text_.size() && text_[at_ + 1] == '\n') ++line_;
        at_ += 2;
      } else if (is_long ? text_.substr(at_).starts_with(three) : c == quote) {
        at_ += is_long ? 3 : 1;
        for (int more = 0; is_long && more < 2 && at_ < text_.size() && text_[at_] == quote; ++more) ++at_;
        return;
      } else {
        ++at_;
      }
    }
  }

  std::string_view text_;
  const std::string& place_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1;
  int depth_ = 0;
  int parts_ = 1;
};

}  // namespace

void require_shallow_toml(std::string_view text, const std::string& place) {
  TomlScan(text, place).run();
}

}  // namespace baekji
