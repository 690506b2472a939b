#include "core/base64.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace baekji {
namespace {

TEST(Base64, Rfc4648VectorsBothWays) {
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(encode_base64(bytes), text);
    EXPECT_EQ(decode_base64(text), bytes);
  }
  std::printf("%zu vectors of RFC 4648\n", std::size(cases));
}

TEST(Base64, EveryByteComesBackAndOtherSpellingsAreRefused) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  for (std::size_t n = 0; n <= all.size(); ++n)
    ASSERT_EQ(decode_base64(encode_base64(all.substr(0, n))), all.substr(0, n));
  const char* const others[] = {"Zg",   "Zg=",  "Zh==", "Zm9v\n",   "Zm 9v", "Zm9v====", "=",
                                "====", "Zm9=", "Zm-v", "Zg==Zg==", "Z",     "Zm9vY",    "=Zm9"};
  for (const char* text : others) EXPECT_FALSE(decode_base64(text)) << text;
  std::printf("257 lengths, %zu other spellings refused\n", std::size(others));
}

}  // namespace
}  // namespace baekji
