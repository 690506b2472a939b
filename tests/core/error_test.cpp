#include "core/error.h"

#include <gtest/gtest.h>

namespace baekji {
namespace {

TEST(Error, SaysBothValuesWhereAndAHint) {
  const Error error = Error("heads must be divisible by kv_heads")
                          .values("heads = 6", "kv_heads = 4")
                          .at("x.toml [model]")
                          .hint("use 3");
  const std::string text = error.what();
  for (const char* part :
       {"heads must be divisible", "heads = 6", "kv_heads = 4", "x.toml [model]", "HINT:     use 3"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(error.problem(), "heads must be divisible by kv_heads");
  EXPECT_EQ(std::string(Error("alone").what()), "alone") << "parts that are not given leave no line";
}

TEST(Error, RequireEqual) {
  EXPECT_NO_THROW(require_equal(3, 3, "sizes differ", "here"));
  try {
    require_equal(3, 4, "sizes differ", "here");
    FAIL();
  } catch (const std::exception& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("required: 3"), std::string::npos) << text;
    EXPECT_NE(text.find("came:     4"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace baekji
