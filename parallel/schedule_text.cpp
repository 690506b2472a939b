#include "parallel/schedule_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "core/error.h"

namespace baekji {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kHeaderForm = "schedule pipeline P virtual_stages V micro_batches M";
constexpr std::size_t kKinds = static_cast<std::size_t>(ActionKind::kReceiveBackward) + 1;

// Taken from what describe() writes, so that the letters are spelled in one place.
const std::array<std::string, kKinds>& letters() {
  static const std::array<std::string, kKinds> kLetters = [] {
    std::array<std::string, kKinds> all;
    for (std::size_t k = 0; k < kKinds; ++k) {
      all[k] = Action{.kind = static_cast<ActionKind>(k)}.describe();
      all[k].pop_back();  // the 0
    }
    return all;
  }();
  return kLetters;
}

std::string letters_hint() {
  return fmt::format("an action is one of {} and the number of a micro-batch, with .v for virtual stage v: F0, SB3.1",
                     fmt::join(letters(), ", "));
}

// What came, fit to be printed: it may be long, or no text at all.
std::string shown(std::string_view token) {
  constexpr std::size_t kMost = 40;
  std::string text = "\"";
  for (const char c : token.substr(0, kMost)) {
    if (c >= ' ' && c <= '~') {
      text += c;
    } else {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return text + (token.size() > kMost ? "\"..." : "\"");
}

// The words of one line, and where they stand.
class Line {
 public:
  Line(std::string_view text, const std::string& place, std::int64_t number)
      : text_(text.substr(0, text.find('#'))), place_(place), number_(number) {}

  /// The next word; empty at the end of the line.
  std::string_view next() {
    begin_ = std::min(text_.find_first_not_of(kBlanks, end_), text_.size());
    end_ = std::min(text_.find_first_of(kBlanks, begin_), text_.size());
    return text_.substr(begin_, end_ - begin_);
  }
  bool blank() const { return text_.find_first_not_of(kBlanks) == std::string_view::npos; }
  /// What stands before the colon, without blanks; words go on behind it. Without a colon nothing is taken.
  std::string_view label() {
    const std::size_t colon = text_.find(':');
    if (colon == std::string_view::npos) return {};
    begin_ = text_.find_first_not_of(kBlanks);
    end_ = colon + 1;
    const std::string_view before = text_.substr(begin_, colon - begin_);
    return before.substr(0, before.find_last_not_of(kBlanks) + 1);
  }
  /// Of the last word, as file:line:column.
  std::string place() const { return fmt::format("{}:{}:{}", place_, number_, begin_ + 1); }

 private:
  std::string_view text_;
  const std::string& place_;
  std::int64_t number_;
  std::size_t begin_ = 0, end_ = 0;
};

// Takes a number off the front of `token`; false when there is none. One that is too long for 64 bits counts as -1,
// which no range holds.
bool take_number(std::string_view& token, std::int64_t& number) {
  const auto [end, code] = std::from_chars(token.data(), token.data() + token.size(), number);
  if (code == std::errc::invalid_argument) return false;
  if (code != std::errc{}) number = -1;
  token.remove_prefix(static_cast<std::size_t>(end - token.data()));
  return true;
}

void require_range(std::int64_t low, std::int64_t high, std::int64_t number, std::string_view word, const char* what,
                   const Line& line) {
  if (number >= low && number <= high) return;
  throw Error(fmt::format("the schedule's {} is out of range", what))
      .values(fmt::format("{}..{}", low, high), shown(word))
      .at(line.place())
      .hint("the header line says how many ranks, virtual stages and micro-batches there are");
}

std::int64_t header_number(Line& line, const char* name, std::int64_t most) {
  const auto refuse = [&](const char* required, std::string_view word) {
    throw Error("this is not the header line of a schedule")
        .values(required, word.empty() ? "the end of the line" : shown(word))
        .at(line.place())
        .hint(fmt::format("the first line is: {}", kHeaderForm));
  };
  const std::string_view key = line.next();
  if (key != name) refuse(name, key);
  const std::string_view word = line.next();
  std::string_view rest = word;
  std::int64_t number = 0;
  if (!take_number(rest, number) || !rest.empty()) refuse("a whole number", word);
  if (number < 1 || number > most) {
    throw Error(fmt::format("a schedule cannot have so many: {}", name))
        .values(fmt::format("1..{}", most), shown(word))
        .at(line.place())
        .hint("pipeline x virtual_stages is the number of stages; a model has far fewer");
  }
  return number;
}

struct Header {
  std::int64_t ranks = 0, virtual_stages = 0, micro_batches = 0;
};

Header parse_header(Line& line) {
  const std::string_view first = line.next();
  if (first != "schedule") {
    throw Error("this is not the header line of a schedule")
        .values("schedule", shown(first))
        .at(line.place())
        .hint(fmt::format("the first line is: {}", kHeaderForm));
  }
  Header header;
  header.ranks = header_number(line, "pipeline", kMostScheduleStages);
  // Dividing keeps the number of stages below its limit, too.
  header.virtual_stages =
      header_number(line, "virtual_stages", std::min(kMostVirtualStages, kMostScheduleStages / header.ranks));
  header.micro_batches = header_number(line, "micro_batches", kMostMicroBatches);
  const std::string_view more = line.next();
  if (!more.empty()) {
    throw Error("the header line of a schedule goes on where it should end")
        .values("the end of the line", shown(more))
        .at(line.place())
        .hint(fmt::format("the first line is: {}", kHeaderForm));
  }
  return header;
}

Action parse_action(std::string_view word, const Header& header, const Line& line) {
  const auto refuse = [&](const std::string& required) {
    throw Error("the schedule holds a word that is no action")
        .values(required, shown(word))
        .at(line.place())
        .hint(letters_hint());
  };
  const std::string_view letter = word.substr(0, word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
  const auto* const known = std::find(letters().begin(), letters().end(), letter);
  if (known == letters().end()) refuse(fmt::format("{}", fmt::join(letters(), " ")));
  Action action{.kind = static_cast<ActionKind>(known - letters().begin())};
  std::string_view rest = word.substr(letter.size());
  if (!take_number(rest, action.micro_batch)) refuse("the number of a micro-batch after the letters");
  require_range(0, header.micro_batches - 1, action.micro_batch, word, "micro-batch", line);
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    if (!take_number(rest, action.virtual_stage)) refuse("the number of a virtual stage after the point");
    require_range(0, header.virtual_stages - 1, action.virtual_stage, word, "virtual stage", line);
  }
  if (!rest.empty()) refuse("nothing after the numbers");
  return action;
}

// "3: F0 SF0 ...", where 3 ranks came before.
std::vector<Action> parse_rank(Line& line, const Header& header, std::int64_t rank) {
  const std::string_view label = line.label();
  std::string_view rest = label;
  std::int64_t number = -1;
  const bool is_number = take_number(rest, number) && rest.empty();
  if (!is_number || number != rank || rank >= header.ranks) {
    const std::string came = label.empty() ? shown(line.next()) : shown(label);
    throw Error("this line is not the schedule's next rank")
        .values(rank < header.ranks ? fmt::format("{}:", rank) : "the end of the text", came)
        .at(line.place())
        .hint(fmt::format("after the header comes one line for each of pipeline = {} ranks, in order: 0: F0 SF0 ...",
                          header.ranks));
  }
  std::vector<Action> actions;
  for (std::string_view word = line.next(); !word.empty(); word = line.next()) {
    actions.push_back(parse_action(word, header, line));
  }
  return actions;
}

}  // namespace

std::string to_text(const Schedule& schedule) {
  std::string text = fmt::format("schedule pipeline {} virtual_stages {} micro_batches {}\n", schedule.ranks(),
                                 schedule.virtual_stages, schedule.micro_batches);
  for (std::int64_t rank = 0; rank < schedule.ranks(); ++rank) {
    text += fmt::format("{}:", rank);
    for (const Action& action : schedule.actions[static_cast<std::size_t>(rank)]) text += " " + action.describe();
    text += '\n';
  }
  return text;
}

Schedule parse_schedule(std::string_view text, const std::string& place) {
  Schedule schedule;
  Header header;
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    Line line(text.substr(begin, end - begin), place, ++number);
    begin = end + 1;
    if (line.blank()) continue;
    if (header.ranks == 0) {
      header = parse_header(line);
    } else {
      schedule.actions.push_back(parse_rank(line, header, schedule.ranks()));
    }
  }
  // Only now: nothing is allocated for ranks that the header promises and the text does not hold.
  if (header.ranks == 0 || schedule.ranks() != header.ranks) {
    throw Error("the text of the schedule ends too early")
        .values(header.ranks == 0 ? "a header line" : fmt::format("{} ranks", header.ranks),
                header.ranks == 0 ? "no line but comments" : fmt::format("{} ranks", schedule.ranks()))
        .at(fmt::format("{}:{}", place, std::max<std::int64_t>(number, 1)))
        .hint(fmt::format("the form is: {}, then one line for each rank: 0: F0 SF0 ...", kHeaderForm));
  }
  schedule.virtual_stages = header.virtual_stages;
  schedule.micro_batches = header.micro_batches;
  return schedule;
}

}  // namespace baekji
