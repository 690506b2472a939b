#include "proof/genesis.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "proof/state_root.h"
#include "tests/proof/state_fixture.h"
#include "tests/python.h"

namespace baekji {
namespace {

constexpr std::uint64_t kSeed = 20261123;

TEST(Genesis, SameLogicalTensorForAnySlicesOwnersAndThreads) {
  ThreadPool one(1);
  SampleState reference(sample_tensors(1), 1);
  fill_genesis(reference.shards(), kSeed, one);
  for (const std::int64_t grains : {1, 2, 4}) {
    for (const std::int64_t owners : {1, 3}) {
      ThreadPool pool(static_cast<int>(grains + 1));
      SampleState state(sample_tensors(grains), owners);
      fill_genesis(state.shards(), kSeed, pool);
      for (const TensorDeclaration& d : state.declarations()) {
        for (const StateKind kind : kStateKinds)
          EXPECT_EQ(reference.logical(d.tensor.name, kind), state.logical(d.tensor.name, kind)) << d.tensor.name;
      }
    }
  }
  std::puts("step 0 is the same for 1, 2, 4 slices, 1 and 3 owners, 1 to 5 threads");
}

TEST(Genesis, ElementsPaddingAndMoments) {
  ThreadPool pool(2);
  SampleState state(sample_tensors(4), 2);
  fill_genesis(state.shards(), kSeed, pool);
  for (const StateShard& s : state.shards()) {
    for (std::int64_t i = 0; i < s.count; i += 37) {
      const std::int64_t logical = s.tensor->logical_index(s.slice, s.begin + i);
      const float expected = logical < 0 ? 0.0F : genesis_value(*s.tensor, s.initialisation, kSeed, logical);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(expected), std::bit_cast<std::uint32_t>(s.values[0][i]))
          << s.tensor->name << " " << logical;
      ASSERT_EQ(0.0F, s.values[1][i]);
      ASSERT_EQ(0.0F, s.values[2][i]);
    }
  }
  EXPECT_THROW(genesis_value(state.declarations()[0].tensor, {}, kSeed, 101 * 24), Error);
  EXPECT_THROW(genesis_value(state.declarations()[0].tensor, {}, kSeed, -1), Error);
}

TEST(Genesis, LooksNormalAndDependsOnSeedAndName) {
  ThreadPool pool(2);
  const std::vector<TensorDeclaration> one{{{.name = "w", .shape = {512, 512}}, {Initialisation::Kind::kNormal, 0.02}}};
  SampleState state(one, 1);
  fill_genesis(state.shards(), kSeed, pool);
  const std::vector<float> w = state.logical("w", StateKind::kMaster);
  double sum = 0;
  double squares = 0;
  std::int64_t beyond = 0;
  for (const float x : w) {
    sum += x;
    squares += static_cast<double>(x) * x;
    beyond += std::fabs(x) > 0.04F ? 1 : 0;
  }
  const double n = static_cast<double>(w.size());
  const double deviation = std::sqrt(squares / n);
  EXPECT_NEAR(0.0, sum / n, 4 * 0.02 / 512);
  EXPECT_NEAR(0.02, deviation, 0.02 * 0.006);
  EXPECT_NEAR(0.0455, static_cast<double>(beyond) / n, 0.002);  // beyond two deviations
  std::printf("262,144 elements: mean %.2e, deviation %.6f, %.4f beyond 2 deviations\n", sum / n, deviation,
              static_cast<double>(beyond) / n);
  const LogicalTensor& w_tensor = one[0].tensor;
  LogicalTensor other = w_tensor;
  other.name = "v";
  EXPECT_NE(genesis_value(w_tensor, one[0].initialisation, kSeed, 5),
            genesis_value(other, one[0].initialisation, kSeed, 5));
  EXPECT_NE(genesis_value(w_tensor, one[0].initialisation, kSeed, 5),
            genesis_value(w_tensor, one[0].initialisation, kSeed + 1, 5));
}

// Pins the bytes of version 1: a change here is a change of format.
TEST(Genesis, LiteralElements) {
  const LogicalTensor tensor{.name = "layers.3.attention.q", .shape = {512, 512}, .split = Split::kRows, .slices = 4};
  const Initialisation normal{Initialisation::Kind::kNormal, 0.02};
  const std::vector<std::uint32_t> expected{0xBC1C558CU, 0x3AEB3642U, 0x3D13AD56U,
                                            0x3D39912FU, 0xBCD17AD7U, 0x3C81DA69U};
  const std::vector<std::int64_t> indices{0, 1, 2, 3, 65536, 262143};
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const std::uint32_t came = std::bit_cast<std::uint32_t>(genesis_value(tensor, normal, 1, indices[i]));
    EXPECT_EQ(expected[i], came) << fmt::format("index {}: {:#010x}", indices[i], came);
  }
}

nlohmann::json describe(const TensorDeclaration& d) {
  const char* const splits[] = {"none", "rows", "columns"};
  return {{"name", d.tensor.name},
          {"shape", d.tensor.shape},
          {"slices", d.tensor.slices},
          {"padded_rows", d.tensor.padded_rows},
          {"split", splits[static_cast<int>(d.tensor.split)]},
          {"value", d.initialisation.value},
          {"kind", d.initialisation.kind == Initialisation::Kind::kNormal ? "normal" : "constant"}};
}

TEST(Genesis, PythonRegeneratesElements) {
  const std::string python = find_python();
  if (python.empty()) GTEST_SKIP() << "python3 is not installed";
  const TensorDeclaration d{{.name = "layers.11.feed_forward.down", .shape = {70000, 70000}},
                            {Initialisation::Kind::kNormal, 0.0123}};
  nlohmann::json input = {
      {"seed", 18446744073709551615ULL}, {"tensors", {describe(d)}}, {"elements", nlohmann::json::array()}};
  std::string expected;
  for (std::int64_t i = 0; i < 4000; ++i) {
    const std::int64_t index = i * 1224989 % 4900000000;
    input["elements"].push_back(index);
    expected += fmt::format(
        "{}{:08x}", i == 0 ? "" : "\n",
        std::bit_cast<std::uint32_t>(genesis_value(d.tensor, d.initialisation, 18446744073709551615ULL, index)));
  }
  const PythonResult result = run_python(python, "tests/proof/independent.py", "elements", input.dump());
  ASSERT_EQ(0, result.status) << result.output;
  EXPECT_TRUE(expected == result.output) << result.output.substr(0, 200);
  std::puts("an independent Python program regenerated 4,000 elements of step 0, every bit equal");
}

TEST(Genesis, PythonRegeneratesTheStateRoot) {
  const std::string python = find_python();
  if (python.empty()) GTEST_SKIP() << "python3 is not installed";
  ThreadPool pool(2);
  for (const std::int64_t grains : {1, 4}) {
    SampleState state(sample_tensors(grains), 2);
    fill_genesis(state.shards(), kSeed, pool);
    nlohmann::json input = {{"seed", kSeed}, {"tensors", nlohmann::json::array()}};
    for (const TensorDeclaration& d : state.declarations()) input["tensors"].push_back(describe(d));
    const PythonResult result = run_python(python, "tests/proof/independent.py", "state", input.dump());
    ASSERT_EQ(0, result.status) << result.output;
    EXPECT_EQ(to_hex(state_root(state.shards(), pool)), result.output);
    std::printf("G = %d: C++ and an independent Python program agree on the step-0 root %.16s...\n",
                static_cast<int>(grains), result.output.c_str());
  }
}

}  // namespace
}  // namespace baekji
