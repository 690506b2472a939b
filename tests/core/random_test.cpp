#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <set>
#include <vector>

#include "core/error.h"

namespace baekji {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Known-answer vectors of the authors' Random123 distribution (kat_vectors, philox4x32 10).
TEST(Random, PhiloxKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, StreamsDifferByDomainSeedAndName) {
  std::set<std::uint64_t> first;
  for (const char* domain : {"a", "b"}) {
    for (const std::uint64_t seed : {1ULL, 2ULL}) {
      for (const char* name : {"x", "y"}) first.insert(RandomStream(domain, seed, name).word(0));
    }
  }
  EXPECT_EQ(first.size(), 8U);
  const RandomStream stream("a", 1, "x");
  EXPECT_EQ(stream.word(5), RandomStream("a", 1, "x").word(5)) << "a pure function of its arguments";
  EXPECT_NE(stream.word(0), stream.word(1)) << "both halves of a block";
  EXPECT_NE(stream.word(0), stream.word(std::uint64_t{1} << 33)) << "the upper half of the counter counts";
}

TEST(Random, NormalQuantileKnownValues) {
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-14);
  EXPECT_NEAR(normal_quantile(0.025), -1.959963984540054, 1e-14);
  EXPECT_NEAR(normal_quantile(0.84134474606854293), 1.0, 1e-13);
  EXPECT_NEAR(normal_quantile(1e-20), -9.262340089798408, 1e-12);
  EXPECT_EQ(normal_quantile(0.5), 0.0);
  // Against the distribution function itself, over all three branches.
  double worst = 0;
  for (double p = 1e-12; p < 1; p = p < 0.01 ? p * 1.7 : p + 0.0071) {
    worst = std::max(worst, std::fabs(0.5 * std::erfc(-normal_quantile(p) / std::sqrt(2.0)) / p - 1));
  }
  std::printf("  quantile and erfc agree to %.1e\n", worst);
  EXPECT_LT(worst, 1e-13);
}

TEST(Random, MomentsOfAMillionNormals) {
  const RandomStream stream("test", 42, "moments");
  double sum[5] = {};
  constexpr int kCount = 1000000;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const double x = stream.normal(i);
    double power = 1;
    for (double& s : sum) {
      s += power;
      power *= x;
    }
  }
  const double mean = sum[1] / kCount, square = sum[2] / kCount, cube = sum[3] / kCount, fourth = sum[4] / kCount;
  std::printf("  mean %.5f, second %.5f, third %.5f, fourth %.5f of 1e6 (0, 1, 0, 3)\n", mean, square, cube, fourth);
  EXPECT_NEAR(mean, 0, 5e-3);  // five standard errors each
  EXPECT_NEAR(square, 1, 7.1e-3);
  EXPECT_NEAR(cube, 0, 1.95e-2);
  EXPECT_NEAR(fourth, 3, 4.9e-2);
}

TEST(Random, UniformAndBelowStayInRange) {
  const RandomStream stream("test", 1, "range");
  std::vector<int> counts(7);
  for (std::uint64_t i = 0; i < 70000; ++i) {
    const double u = stream.uniform(i);
    ASSERT_GT(u, 0.0);
    ASSERT_LT(u, 1.0);
    const std::uint64_t n = stream.below(i, 7);
    ASSERT_LT(n, 7U);
    ++counts[n];
  }
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  EXPECT_EQ(stream.below(3, 1), 0U);
}

TEST(Random, PermutationIsABijection) {
  for (const std::uint64_t size : {1ULL, 2ULL, 3ULL, 5ULL, 64ULL, 65ULL, 1000ULL, 4097ULL}) {
    const KeyedPermutation permutation("test", 9, "order", size);
    std::vector<bool> seen(size);
    std::uint64_t fixed_points = 0;
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t to = permutation(i);
      ASSERT_LT(to, size);
      ASSERT_FALSE(seen[to]) << "of " << size;
      seen[to] = true;
      fixed_points += to == i ? 1 : 0;
    }
    if (size >= 64) {
      EXPECT_LT(fixed_points, 10U);
    }
  }
  EXPECT_THROW(KeyedPermutation("test", 9, "order", 5)(5), Error);
  EXPECT_THROW(KeyedPermutation("test", 9, "order", 0), Error);
  EXPECT_NE(KeyedPermutation("test", 9, "order", 1ULL << 40)(0), KeyedPermutation("test", 10, "order", 1ULL << 40)(0));
}

}  // namespace
}  // namespace baekji
