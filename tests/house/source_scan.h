#pragma once
// What the house rules need to know of a source file: its code without comments and literals, its includes, and where
// each function begins and ends. A scanner, not a parser: the rules it follows are written beside each step.

#include <cctype>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace baekji::house {

inline bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// The text with comments and the contents of literals replaced by blanks; every line keeps its place and length.
inline std::string blank_literals(const std::string& text) {
  std::string out = text;
  const auto blank = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end && i < out.size(); ++i) {
      if (out[i] != '\n') out[i] = ' ';
    }
  };
  for (std::size_t i = 0; i < text.size();) {
    const std::string_view rest = std::string_view(text).substr(i);
    if (rest.starts_with("//")) {
      const std::size_t end = std::min(text.find('\n', i), text.size());
      blank(i, end);
      i = end;
    } else if (rest.starts_with("/*")) {
      const std::size_t end = text.find("*/", i + 2);
      const std::size_t after = end == std::string::npos ? text.size() : end + 2;
      blank(i, after);
      i = after;
    } else if (rest.starts_with("R\"") && (i == 0 || !is_word(text[i - 1]))) {
      const std::size_t open = text.find('(', i);
      const std::string close = ")" + text.substr(i + 2, open - i - 2) + "\"";
      const std::size_t end = text.find(close, open);
      const std::size_t after = end == std::string::npos ? text.size() : end + close.size();
      blank(i + 1, after);
      i = after;
    } else if (text[i] == '"' || (text[i] == '\'' && (i == 0 || !is_word(text[i - 1])))) {  // 1'000 is no literal
      std::size_t end = i + 1;
      while (end < text.size() && text[end] != text[i] && text[end] != '\n') end += text[end] == '\\' ? 2 : 1;
      blank(i + 1, end);
      i = end + 1;
    } else {
      ++i;
    }
  }
  return out;
}

inline std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

struct Include {
  std::string path;
  bool quoted = false;  ///< with quotes: ours
};
inline std::vector<Include> includes_of(const std::string& text) {
  std::vector<Include> all;
  for (const std::string& line : split_lines(text)) {
    const std::size_t hash = line.find_first_not_of(' ');
    if (hash == std::string::npos || !std::string_view(line).substr(hash).starts_with("#include")) continue;
    const std::size_t open = line.find_first_of("<\"", hash);
    if (open == std::string::npos) continue;
    const std::size_t close = line.find_first_of(">\"", open + 1);
    all.push_back({line.substr(open + 1, close - open - 1), line[open] == '"'});
  }
  return all;
}

/// How often `word` stands in blanked code; its ends must not continue an identifier. "printf(" counts calls only.
inline std::int64_t count_word(const std::string& code, std::string_view word) {
  std::int64_t count = 0;
  for (std::size_t at = code.find(word); at != std::string::npos; at = code.find(word, at + 1)) {
    const bool begins = at == 0 || !is_word(word.front()) || !is_word(code[at - 1]);
    const std::size_t end = at + word.size();
    const bool ends = end >= code.size() || !is_word(word.back()) || !is_word(code[end]);
    // "std::exp" must not be found in "boost::std::exp", nor "exp(" in "std::exp(" twice: a name is taken with its
    // scope.
    const bool scoped = at >= 2 && code[at - 1] == ':' && code[at - 2] == ':';
    const bool member = at >= 1 && (code[at - 1] == '.' || (at >= 2 && code[at - 1] == '>' && code[at - 2] == '-'));
    if (begins && ends && !scoped && !member) count += 1;
  }
  return count;
}

struct Function {
  std::string head;  ///< its first line
  std::int64_t first_line = 0;
  std::int64_t lines = 0;  ///< from the first line of its head to its closing brace
};

/// Finds the functions of blanked code (C++). A brace at namespace or class level opens
///   a scope      after `namespace`, `extern`, or a head that starts with class, struct or union;
///   nothing      after `enum`, `=`, or a head without parentheses (an initialiser), or a member initialiser `: a_{1}`;
///   a function   after any other head with parentheses.
/// What stands inside a function (lambdas, local types) counts as part of it.
class FunctionFinder {
 public:
  explicit FunctionFinder(const std::string& code) : code_(without_preprocessor(code)) {}

  std::vector<Function> run() {
    for (at_ = 0; at_ < code_.size(); ++at_) {
      const char c = code_[at_];
      if (c == '\n') line_ += 1;
      const bool ends_head = c == '}' || c == ';' || (c == ':' && access_label());
      if (c == '{')
        open();
      else if (ends_head)
        head_.clear();
      else
        add(c);
    }
    return std::move(functions_);
  }

 private:
  static std::string without_preprocessor(const std::string& code) {
    std::string out = code;
    bool directive = false;
    for (std::size_t begin = 0; begin < out.size();) {
      const std::size_t end = std::min(out.find('\n', begin), out.size());
      const std::size_t first = out.find_first_not_of(' ', begin);
      if (!directive) directive = first < end && out[first] == '#';
      const bool goes_on = directive && end > begin && out[end - 1] == '\\';
      if (directive) out.replace(begin, end - begin, end - begin, ' ');
      directive = goes_on;
      begin = end + 1;
    }
    return out;
  }

  void add(char c) {
    if (head_.empty() && std::isspace(static_cast<unsigned char>(c)) != 0) return;
    if (head_.empty()) head_line_ = line_;
    head_ += c == '\n' ? ' ' : c;
  }

  bool access_label() const { return head_ == "public" || head_ == "private" || head_ == "protected"; }

  // The head without template parameters, attributes and the blanks at its end.
  std::string bare_head() const {
    std::string head = head_;
    while (!head.empty() && head.back() == ' ') head.pop_back();
    while (head.starts_with("template")) {
      std::size_t i = head.find('<');
      if (i == std::string::npos) break;
      for (int depth = 0; i < head.size(); ++i) {
        if (head[i] == '<') depth += 1;
        if (head[i] == '>' && --depth == 0) break;
      }
      head.erase(0, std::min(head.find_first_not_of(' ', i + 1), head.size()));
    }
    return head;
  }

  void open() {
    const std::string head = bare_head();
    const auto starts = [&](std::string_view word) {
      return head.starts_with(word) && (head.size() == word.size() || !is_word(head[word.size()]));
    };
    if (starts("namespace") || starts("inline namespace") || starts("extern")) return head_.clear();
    if (starts("class") || starts("struct") || starts("union") || starts("typedef struct")) return head_.clear();
    const std::int64_t first = head_line_;
    const bool initialiser = head.empty() || head.back() == '=' || starts("enum") ||
                             head.find('(') == std::string::npos || in_member_initialisers(head);
    skip_block();
    if (initialiser) {
      head_ += '}';  // the head goes on behind it
      return;
    }
    functions_.push_back({.head = head_.substr(0, 80), .first_line = first, .lines = line_ - first + 1});
    head_.clear();
  }

  // "A() : a_" before "{1}": after the parameter list stands a single colon, and the brace follows a name.
  static bool in_member_initialisers(const std::string& head) {
    if (!is_word(head.back())) return false;
    for (std::size_t i = head.find(')'); i < head.size(); ++i) {
      const bool double_colon = head[i] == ':' && ((i + 1 < head.size() && head[i + 1] == ':') || head[i - 1] == ':');
      if (head[i] == ':' && !double_colon) return true;
    }
    return false;
  }

  // Moves to the matching closing brace.
  void skip_block() {
    int depth = 0;
    for (; at_ < code_.size(); ++at_) {
      if (code_[at_] == '\n') line_ += 1;
      if (code_[at_] == '{') depth += 1;
      if (code_[at_] == '}' && --depth == 0) return;
    }
  }

  std::string code_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1;
  std::string head_;
  std::int64_t head_line_ = 1;
  std::vector<Function> functions_;
};

/// The functions of Python source: a `def` and every later line that is blank or indented deeper.
inline std::vector<Function> python_functions(const std::string& text) {
  const std::vector<std::string> lines = split_lines(text);
  std::vector<Function> all;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::size_t indent = lines[i].find_first_not_of(' ');
    if (indent == std::string::npos || !std::string_view(lines[i]).substr(indent).starts_with("def ")) continue;
    std::size_t last = i;
    bool head = lines[i].back() != ':';  // a parameter list may go over several lines, whose end is not indented
    for (std::size_t j = i + 1; j < lines.size(); ++j) {
      const std::size_t inner = lines[j].find_first_not_of(' ');
      if (inner == std::string::npos) continue;
      if (!head && inner <= indent) break;
      if (head && lines[j].back() == ':') head = false;
      last = j;
    }
    all.push_back({lines[i].substr(indent), static_cast<std::int64_t>(i) + 1, static_cast<std::int64_t>(last - i) + 1});
  }
  return all;
}

}  // namespace baekji::house
