// The progress line, and that it never mixes with messages.

#include "trainer/progress.h"
#include "core/arena.h"

#include <gtest/gtest.h>

#include <limits>
#include <sstream>

#include "core/arena.h"

namespace baekji {
namespace {

TEST(FormatTest, Durations) {
  EXPECT_EQ(format_duration(0), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m 00s");
  EXPECT_EQ(format_duration(200), "3m 20s");
  EXPECT_EQ(format_duration(5 * 3600 + 125), "5h 02m");
  EXPECT_EQ(format_duration(12 * 86400 + 3 * 3600), "12d 03h");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(format_duration(-1), "?");
}

TEST(FormatTest, BytesAndCounts) {
  EXPECT_EQ(format_bytes(812), "812 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(std::int64_t{5} << 29), "2.5 GiB");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
}

TEST(FormatTest, ProgressLine) {
  const std::string line = format_progress({.step = 20,
                                            .steps = 600,
                                            .loss = 5.12345,
                                            .grad_norm = 0.8124,
                                            .learning_rate = 3e-4,
                                            .tokens_per_s = 12344.6,
                                            .mfu = 0.612,
                                            .memory_bytes = std::int64_t{1} << 30,
                                            .eta_s = 200});
  EXPECT_EQ(line,
            "step  20/600  loss 5.1235  norm 0.812  lr 3.00e-04   12,345 tok/s  61.2% of ceiling  1.0 GiB  ETA 3m 20s");
  EXPECT_LT(line.size(), 120U);
  EXPECT_EQ(format_progress({.step = 1, .steps = 9}).find("ceiling"), std::string::npos);
}

TEST(RateMeterTest, AveragesTheWindow) {
  RateMeter meter(2);
  EXPECT_EQ(meter.eta_s(10), 0);
  EXPECT_EQ(meter.tokens_per_s(), 0);
  meter.add(100, 1);  // the first step of a run is slow; it leaves the window
  meter.add(1, 10);
  meter.add(3, 30);
  EXPECT_DOUBLE_EQ(meter.tokens_per_s(), 10);
  EXPECT_DOUBLE_EQ(meter.eta_s(5), 10);
}

TEST(ProgressPrinterTest, LinesWithoutATerminal) {
  std::ostringstream out;
  {
    ProgressPrinter printer({.out = out});
    printer.show("one");
    printer.say("message");
    printer.show("two");
  }
  EXPECT_EQ(out.str(), "one\nmessage\ntwo\n");
}

TEST(ProgressPrinterTest, RewritesOnATerminalAndKeepsMessagesApart) {
  std::ostringstream out;
  {
    ProgressPrinter printer({.out = out, .terminal = true, .columns = 6});
    printer.show("1234567890");
    printer.show("two");
    printer.say("message");
    printer.show("three");
  }
  EXPECT_EQ(out.str(), "\r12345\x1b[K\rtwo\x1b[K\nmessage\n\rthree\x1b[K\n");
}

}  // namespace
}  // namespace baekji
