#include "proof/challenge.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "proof/beacon.h"

namespace baekji {
namespace {

TEST(ChallengeTest, DrawsDifferentSegmentsFromNonceAndHead) {
  const auto drawn = draw_segments("nonce", sha256("head"), 1000, 100);
  EXPECT_EQ(drawn.size(), 100U);
  EXPECT_TRUE(std::is_sorted(drawn.begin(), drawn.end()));
  EXPECT_EQ(std::adjacent_find(drawn.begin(), drawn.end()), drawn.end());
  EXPECT_EQ(drawn, draw_segments("nonce", sha256("head"), 1000, 100));
  EXPECT_NE(drawn, draw_segments("nonce", sha256("other head"), 1000, 100));
  EXPECT_NE(drawn, draw_segments("other nonce", sha256("head"), 1000, 100));
  EXPECT_EQ(draw_segments("n", sha256("h"), 3, 3), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_THROW(draw_segments("n", sha256("h"), 3, 4), Error);
}

TEST(ChallengeTest, EverySegmentIsDrawnEquallyOften) {
  constexpr int kDraws = 4000;
  std::vector<int> times(20, 0);
  for (int i = 0; i < kDraws; ++i) {
    for (const std::int64_t s : draw_segments(std::to_string(i), sha256("head"), 20, 5))
      ++times[static_cast<std::size_t>(s)];
  }
  const auto [least, most] = std::minmax_element(times.begin(), times.end());
  // 1000 expected, standard deviation 27.4: five of them.
  EXPECT_GT(*least, 863);
  EXPECT_LT(*most, 1137);
  std::printf("20 segments drawn %d to %d times, 1000 expected\n", *least, *most);
}

TEST(ChallengeTest, MissProbabilityIsHypergeometric) {
  // C(8, 3) / C(10, 3) = 56 / 120
  EXPECT_DOUBLE_EQ(miss_probability(10, 2, 3), 56.0 / 120.0);
  EXPECT_EQ(miss_probability(10, 2, 9), 0);
  EXPECT_EQ(miss_probability(10, 0, 9), 1);
  const std::int64_t count = count_for(1000, 100, 1e-3);
  EXPECT_LE(miss_probability(1000, 100, count), 1e-3);
  EXPECT_GT(miss_probability(1000, 100, count - 1), 1e-3);
  EXPECT_EQ(count_for(5, 0, 1e-3), 5);
}

TEST(BeaconTest, SeedsAndTimes) {
  EXPECT_EQ(beacon_time_s("drand-quicknet", 1), 1692803367);
  EXPECT_EQ(beacon_time_s("drand-quicknet", 1000001), 1692803367 + 3000000);
  EXPECT_EQ(beacon_time_s("drand-default", 3), 1595431050 + 60);
  EXPECT_THROW(beacon_time_s("sunrise", 1), Error);
  // By hand: the first 8 bytes of SHA-256(digest || value), little-endian.
  const Digest contract = sha256("contract");
  const std::string value(32, 'v');
  const std::string joined = std::string(contract.begin(), contract.end()) + value;
  const Digest hash = sha256(joined);
  std::uint64_t expected = 0;
  for (std::size_t i = 0; i < 8; ++i) expected |= static_cast<std::uint64_t>(hash[i]) << (8 * i);
  EXPECT_EQ(seed_from_beacon(contract, value), expected);
  EXPECT_NE(seed_from_beacon(contract, std::string(32, 'w')), expected);
  // Other lengths would be other seeds to choose from.
  for (const std::size_t bytes : {0, 1, 31, 33, 64})
    EXPECT_THROW(seed_from_beacon(contract, std::string(bytes, 'v')), Error) << bytes;
}

}  // namespace
}  // namespace baekji
