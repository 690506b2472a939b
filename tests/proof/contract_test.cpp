#include "proof/contract.h"

#include <gtest/gtest.h>

#include <bit>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/random.h"
#include "proof/kernel_set.h"

namespace baekji {
namespace {

using nlohmann::json;

TEST(Contract, CanonicalBytes) {
  const json value = {
      {"seed", 7}, {"b", {1, -2, true, nullptr}}, {"a", {{"z", "\u00e9 \"\n\x01"}, {"A", contract_number(3e-4)}}}};
  EXPECT_EQ("{\"a\":{\"A\":\"0.0003\",\"z\":\"\u00e9 \\\"\\n\\u0001\"},\"b\":[1,-2,true,null],\"seed\":7}",
            canonical_json(value));
  EXPECT_EQ(value, parse_canonical_json(canonical_json(value), "test"));
}

TEST(Contract, RefusesWhatHasNoCanonicalForm) {
  EXPECT_THROW(canonical_json({{"lr", 0.1}}), Error);
  EXPECT_THROW(canonical_json({{"list", {1, {{"x", 1.0}}}}}), Error);
  EXPECT_THROW(canonical_json("\xff"), Error);
  try {
    canonical_json({{"optimizer", {{"lr", 0.1}}}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ("$.optimizer.lr", error.where());
  }
  for (const char* text : {"{\"b\":1,\"a\":2}", "{\"a\": 1}", "{\"a\":1,\"a\":1}", "{\"a\":1.5}", "{\"a\":1", "",
                           "{\"a\":\"\\u0041\"}", "{\"a\":1}\n", "{\"a\":-0}"}) {
    EXPECT_THROW(parse_canonical_json(text, "test"), Error) << text;
    EXPECT_THROW(contract_digest(text), Error) << text;
  }
}

TEST(Contract, Numbers) {
  const std::vector<std::pair<double, std::string>> cases{{0.0003, "0.0003"},
                                                          {1.0, "1"},
                                                          {0.95, "0.95"},
                                                          {-0.0, "0"},
                                                          {1e-8, "1e-8"},
                                                          {1e-6, "0.000001"},
                                                          {1.5e-7, "1.5e-7"},
                                                          {1e21, "1e+21"},
                                                          {1e20, "100000000000000000000"},
                                                          {123456.789, "123456.789"},
                                                          {-2.5, "-2.5"},
                                                          {5e-324, "5e-324"},
                                                          {1.7976931348623157e308, "1.7976931348623157e+308"},
                                                          {0.1 + 0.2, "0.30000000000000004"},
                                                          {9007199254740993.0, "9007199254740992"}};
  for (const auto& [value, text] : cases) EXPECT_EQ(text, contract_number(value));
  EXPECT_THROW(contract_number(std::numeric_limits<double>::quiet_NaN()), Error);
  EXPECT_THROW(contract_number(std::numeric_limits<double>::infinity()), Error);
  const RandomStream stream("test", 1, "doubles");
  int checked = 0;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const double value = std::bit_cast<double>(stream.word(i));
    if (!std::isfinite(value)) continue;
    const std::string text = contract_number(value);
    double back = 0;
    std::from_chars(text.data(), text.data() + text.size(), back);
    ASSERT_EQ(value, back) << text;
    ++checked;
  }
  std::printf("%d random doubles read back exactly\n", checked);
}

TEST(KernelSet, RecordsRoundTripAndDifferences) {
  const KernelSet now = cpu_kernel_set({{"onednn", "2.6.3"}});
  std::printf("%s\n", canonical_json(to_json_value(now)).c_str());
  EXPECT_EQ(now, parse_kernel_set(to_json_value(now), "test"));
  EXPECT_TRUE(kernel_set_differences(now, now).empty());
  KernelSet other = now;
  other.libraries["onednn"] = "2.7.0";
  other.compiler = "gcc 1";
  EXPECT_EQ(2U, kernel_set_differences(now, other).size());
  EXPECT_EQ("library onednn: 2.6.3 -> 2.7.0", kernel_set_differences(now, other)[1]);
  EXPECT_NE(kernel_set_digest(now), kernel_set_digest(other));
  json broken = to_json_value(now);
  broken.erase("processor");
  EXPECT_THROW(parse_kernel_set(broken, "test"), Error);
}

// The block of indented lines of a page that begins with `first`, without the indentation.
std::string block_of(const std::filesystem::path& page, const std::string& first) {
  std::ifstream file(page);
  std::string block;
  for (std::string line; std::getline(file, line);) {
    if (block.empty() && line.rfind("    " + first, 0) != 0) continue;
    if (line.rfind("    ", 0) != 0) break;
    block += line.substr(4) + "\n";
  }
  return block;
}

// The command that docs/formats/contract.md gives to everybody, run as it stands there.
TEST(KernelSet, NumericsDigestIsThatOfTheSources) {
  const std::filesystem::path root(BAEKJI_SOURCE_DIR);
  const auto built = std::filesystem::last_write_time("/proc/self/exe");
  for (const char* folder : {"core", "data", "kernels", "model", "parallel", "proof", "trainer"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      if (entry.last_write_time() > built) GTEST_SKIP() << entry.path() << " changed since this binary was built";
    }
  }
  const std::string block = block_of(root / "docs/formats/contract.md", "{ ls core/");
  ASSERT_FALSE(block.empty());
  FILE* const pipe = popen(("cd '" + root.string() + "' && " + block).c_str(), "r");
  ASSERT_NE(nullptr, pipe);
  char hex[65] = {};
  const std::size_t n = std::fread(hex, 1, 64, pipe);
  pclose(pipe);
  if (n != 64) GTEST_SKIP() << "sha256sum is not installed";
  EXPECT_EQ(std::string(hex), to_hex(numerics_sources_digest()));
}

TEST(KernelSet, FlagsAreThoseOfThisBuild) {
  const std::string flags = " " + cpu_kernel_set({}).flags + " ";
  std::printf("flags:%s\n", flags.c_str());
  for (const char* flag : {" -ffp-contract=off ", " -std=c++20 "})
    EXPECT_NE(flags.find(flag), std::string::npos) << flag;
  for (const char* part : {"/", " -W", " -I", " -o ", " -c ", "  "})
    EXPECT_EQ(flags.find(part), std::string::npos) << "'" << part << "' in" << flags;
  KernelSet other = cpu_kernel_set({});
  other.flags += " -ffast-math";
  EXPECT_NE(kernel_set_digest(other), kernel_set_digest(cpu_kernel_set({})));
  ASSERT_EQ(1U, kernel_set_differences(cpu_kernel_set({}), other).size());
  EXPECT_EQ(0U, kernel_set_differences(cpu_kernel_set({}), other)[0].find("flags: "));
}

}  // namespace
}  // namespace baekji
