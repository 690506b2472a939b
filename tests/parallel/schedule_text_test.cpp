// Schedules as text: there and back, errors that name the place, and any bytes at all.

#include "parallel/schedule_text.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "core/random.h"
#include "parallel/schedule_checks.h"
#include "parallel/schedule_generators.h"

namespace baekji {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ScheduleText, IsWhatTheDocumentShows) {
  EXPECT_EQ(to_text(make_schedule("zb-h1", {.ranks = 2, .micro_batches = 2})),
            "schedule pipeline 2 virtual_stages 1 micro_batches 2\n"
            "0: F0 SF0 F1 SF1 RB0 I0 W0 RB1 I1 W1\n"
            "1: RF0 F0 I0 SB0 RF1 F1 I1 SB1 W0 W1\n");
}

TEST(ScheduleText, EveryGeneratedScheduleComesBack) {
  int checked = 0;
  std::size_t bytes = 0;
  const auto check = [&](const char* name, const ScheduleShape& shape) {
    const Schedule schedule = make_schedule(name, shape);
    const std::string text = to_text(schedule);
    EXPECT_EQ(parse_schedule(text, name), schedule) << text;
    ++checked;
    bytes += text.size();
  };
  for (std::int64_t ranks = 1; ranks <= 8; ++ranks) {
    for (std::int64_t micro_batches = 1; micro_batches <= 24; ++micro_batches) {
      check("1f1b", {.ranks = ranks, .micro_batches = micro_batches});
      check("zb-h1", {.ranks = ranks, .micro_batches = micro_batches});
      for (std::int64_t v = 2; v <= 4 && ranks > 1 && micro_batches % ranks == 0; ++v) {
        check("interleaved", {.ranks = ranks, .virtual_stages = v, .micro_batches = micro_batches});
      }
    }
  }
  check("interleaved", {.ranks = 32, .virtual_stages = 8, .micro_batches = 256});
  std::printf("%d schedules, %zu bytes of text, come back as they were\n", checked, bytes);
}

// Lists that no generator makes: any kinds in any order, empty ranks.
TEST(ScheduleText, EveryListOfActionsComesBack) {
  const RandomStream random("baekji.test", 1, "schedules");
  std::uint64_t at = 0;
  const auto below = [&](std::uint64_t bound) { return static_cast<std::int64_t>(random.below(at++, bound)); };
  std::size_t actions = 0;
  for (int i = 0; i < 500; ++i) {
    Schedule schedule{.micro_batches = 1 + below(kMostMicroBatches), .virtual_stages = 1 + below(kMostVirtualStages)};
    schedule.actions.resize(static_cast<std::size_t>(1 + below(9)));
    for (auto& rank : schedule.actions) {
      for (std::int64_t n = below(20); n > 0; --n) {
        rank.push_back({static_cast<ActionKind>(below(8)), below(static_cast<std::uint64_t>(schedule.micro_batches)),
                        below(static_cast<std::uint64_t>(schedule.virtual_stages))});
        ++actions;
      }
    }
    EXPECT_EQ(parse_schedule(to_text(schedule), "random"), schedule);
  }
  std::printf("500 random schedules with %zu actions come back as they were\n", actions);
}

TEST(ScheduleText, CommentsBlanksAndWindowsLinesMeanNothing) {
  const Schedule wanted = make_schedule("1f1b", {.ranks = 2, .micro_batches = 1});
  EXPECT_EQ(parse_schedule("# by hand\n\n  schedule  pipeline 2\tvirtual_stages 1 micro_batches 1 # small\r\n\r\n"
                           "0:F0 SF0   RB0 B0 # first: it waits for B0\n # and\n 1 : RF0 F00 B0.0 SB0",
                           "hand"),
            wanted);
}

std::string refusal(std::string_view text) {
  try {
    (void)parse_schedule(text, "a.txt");
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ScheduleText, AnErrorNamesPlaceTokenAndWhatFits) {
  const std::string head = "schedule pipeline 2 virtual_stages 2 micro_batches 4\n";
  const std::string letters = "F B I W SF RF SB RB";
  struct Case {
    std::string text;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases{
      {"", {"ends too early", "a header line", "a.txt:1"}},
      {"# nothing\n\n", {"ends too early", "a.txt:2"}},
      {"0: F0", {"not the header line", "\"0:\"", "a.txt:1:1", "HINT", "schedule pipeline P"}},
      {"schedule ranks 2", {"required: pipeline", "\"ranks\"", "a.txt:1:10"}},
      {"schedule pipeline", {"a whole number", "the end of the line", "a.txt:1:18"}},
      {"schedule pipeline two", {"a whole number", "\"two\"", "a.txt:1:19"}},
      {"schedule pipeline 2.5", {"a whole number", "\"2.5\""}},
      {"schedule pipeline 0 virtual_stages 1 micro_batches 1", {"1..1048576", "\"0\""}},
      {"schedule pipeline -3 virtual_stages 1 micro_batches 1", {"1..1048576", "\"-3\""}},
      {"schedule pipeline 99999999999999999999 virtual_stages", {"1..1048576", "\"99999999999999999999\""}},
      {"schedule pipeline 1048576 virtual_stages 2 micro_batches 1", {"so many: virtual_stages", "1..1", "\"2\""}},
      {"schedule pipeline 1 virtual_stages 1025 micro_batches 1", {"1..1024", "\"1025\""}},
      {"schedule pipeline 1 virtual_stages 1 micro_batches 1048577", {"1..1048576", "\"1048577\""}},
      {"schedule pipeline 1 virtual_stages 1 micro_batches 1 0: F0", {"goes on", "\"0:\"", "a.txt:1:54"}},
      {head, {"ends too early", "2 ranks", "0 ranks", "a.txt:1"}},
      {head + "0:\n", {"ends too early", "2 ranks", "1 ranks", "a.txt:2"}},
      {head + "1: F0\n", {"next rank", "required: 0:", "\"1\"", "a.txt:2:1"}},
      {head + "0: F0\n0: F0\n", {"next rank", "required: 1:", "\"0\"", "a.txt:3:1"}},
      {head + "0: F0\n1: F0\n2: F0\n", {"the end of the text", "\"2\"", "a.txt:4:1", "pipeline = 2"}},
      {head + "  F0 F1\n", {"next rank", "\"F0\"", "a.txt:2:3"}},
      {head + "zero: F0\n", {"next rank", "\"zero\""}},
      {head + ": F0\n", {"next rank", "required: 0:"}},
      {head + "0: F0 X1\n", {"no action", letters, "\"X1\"", "a.txt:2:7", "HINT"}},
      {head + "0: f0\n", {"no action", letters, "\"f0\""}},
      {head + "0: FF0\n", {"no action", letters, "\"FF0\""}},
      {head + "0: 3\n", {"no action", letters, "\"3\""}},
      {head + "0: F\n", {"number of a micro-batch", "\"F\""}},
      {head + "0: F+1\n", {"number of a micro-batch", "\"F+1\""}},
      {head + "0: F4\n", {"micro-batch is out of range", "0..3", "\"F4\"", "a.txt:2:4"}},
      {head + "0: F-1\n", {"micro-batch is out of range", "0..3", "\"F-1\""}},
      {head + "0: F18446744073709551616\n", {"micro-batch is out of range", "0..3"}},
      {head + "0: F0.2\n", {"virtual stage is out of range", "0..1", "\"F0.2\""}},
      {head + "0: F0.\n", {"number of a virtual stage", "\"F0.\""}},
      {head + "0: F0.1.1\n", {"nothing after", "\"F0.1.1\""}},
      {head + "0: F0,F1\n", {"nothing after", "\"F0,F1\""}},
      {head + "0: F0: F1\n", {"nothing after", "\"F0:\""}},
      {head + std::string("0: F0\0F1\n", 9), {"nothing after", "\"F0\\x00F1\""}},
      {head + "0: \xed\x95\x9c\n", {"no action", "\"\\xed\\x95\\x9c\""}},
      {head + "0: " + std::string(100000, 'F') + "\n", {"no action", "FFFF\"...", "a.txt:2:4"}},
  };
  for (const Case& c : cases) {
    const std::string said = refusal(c.text);
    for (const std::string& part : c.parts) EXPECT_THAT(said, HasSubstr(part)) << c.text.substr(0, 200);
    EXPECT_THAT(said, AllOf(HasSubstr("required: "), HasSubstr("came: "), HasSubstr("HINT: ")))
        << c.text.substr(0, 200);
    EXPECT_LT(said.size(), 600U) << "an error quotes no more than it must";
  }
  std::printf("%zu wrong texts are refused, each with its place\n", cases.size());
}

// The header alone may claim the most of everything: nothing is made for it before the ranks have come.
TEST(ScheduleText, AHeaderCostsNothing) {
  EXPECT_THAT(refusal("schedule pipeline 1048576 virtual_stages 1 micro_batches 1048576\n0:\n"),
              HasSubstr("1048576 ranks"));
}

// Small changes to a good text: an Error, or a schedule that comes back and that validate() takes or refuses.
TEST(ScheduleText, ChangedTextsAreRefusedOrComeBack) {
  const std::string good = to_text(make_schedule("interleaved", {.ranks = 2, .virtual_stages = 2, .micro_batches = 4}));
  const std::string alphabet("FBIWSR0129.:#\n \xff\0-", 18);
  const RandomStream random("baekji.test", 2, "changes");
  std::uint64_t at = 0;
  int accepted = 0;
  int valid = 0;
  constexpr int kChanged = 20000;
  for (int i = 0; i < kChanged; ++i) {
    std::string text = good;
    for (std::uint64_t changes = 1 + random.below(at++, 3); changes > 0; --changes) {
      const std::size_t place = random.below(at++, text.size());
      const char c = alphabet[random.below(at++, alphabet.size())];
      switch (random.below(at++, 4)) {
        case 0:
          text.insert(place, 1, c);
          break;
        case 1:
          text.erase(place, 1 + random.below(at++, 8));
          break;
        case 2:
          text.resize(place + 1);
          break;
        default:
          text[place] = c;
      }
    }
    try {
      const Schedule schedule = parse_schedule(text, "changed");
      ++accepted;
      EXPECT_EQ(parse_schedule(to_text(schedule), "again"), schedule) << text;
      validate(schedule);
      ++valid;
    } catch (const Error&) {
      // the expected answer to most changes
    }
  }
  EXPECT_GT(accepted, valid);
  EXPECT_GT(valid, 0);
  std::printf("of %d changed texts %d are schedules, %d of them can run\n", kChanged, accepted, valid);
}

}  // namespace
}  // namespace baekji
