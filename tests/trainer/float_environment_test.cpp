// The program under a preloaded library that spoils the floating-point environment of every thread: no bit changes.

#include <gmock/gmock.h>

#include "tests/trainer/tiny_run.h"

namespace baekji::tiny {
namespace {

#ifdef BAEKJI_FOREIGN_FLOAT_ENVIRONMENT
std::string root_of(const std::string& name, const std::string& layout, const fs::path& log) {
  const fs::path output = fresh_folder(name);
  EXPECT_EQ(wait_for(start_program({"train", experiment_file().string(), "--set", "run.output=" + output.string(),
                                    "--set", "run.steps=3", "--set", layout},
                                   log)),
            0)
      << read_text(log);
  return summary(output).at("state_root");
}

TEST(ForeignFloatEnvironment, ChangesNoBitOfTheProgram) {
  const fs::path log = data_folder() / "foreign.log";
  const std::string root = root_of("own_environment", "layout.threads=1", log);
  EXPECT_EQ(read_text(log).find("foreign float environment"), std::string::npos);
  for (const int threads : {1, 3}) {
    ASSERT_EQ(0, setenv("LD_PRELOAD", BAEKJI_FOREIGN_FLOAT_ENVIRONMENT, 1));
    const std::string other = root_of("foreign_environment", "layout.threads=" + std::to_string(threads), log);
    ASSERT_EQ(0, unsetenv("LD_PRELOAD"));
    EXPECT_EQ(other, root) << threads << " threads";
    // The library was there, and saw the pool's threads begin.
    const std::string text = read_text(log), says = "foreign float environment: ";
    const std::size_t at = text.find(says);
    ASSERT_NE(at, std::string::npos) << text;
    EXPECT_GE(std::atoi(text.c_str() + at + says.size()), threads) << text;
  }
}
#endif

}  // namespace
}  // namespace baekji::tiny
