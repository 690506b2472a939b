// How ranks that speak at once are told apart. How a job ends is tested with real ones: trainer/ranks/bad_jobs.py.

#include "parallel/launch.h"

#include <gtest/gtest.h>

#include "parallel/mesh.h"

namespace baekji {
namespace {

TEST(Launch, EveryLineOfARankHasItsLabel) {
  const Mesh mesh{.pipeline = 2, .data = 3, .tensor = 2};
  EXPECT_EQ(mesh.rank_name(9), "rank 9 (pipeline 1, data 1, tensor 1)");
  EXPECT_EQ(labelled("rank 1", "error: a\n  where: b"), "rank 1: error: a\nrank 1:   where: b\n");
  EXPECT_EQ(labelled("rank 1", "one\n\nthree\n"), "rank 1: one\nrank 1: \nrank 1: three\n");
  EXPECT_EQ(labelled("rank 1", ""), "");
}

}  // namespace
}  // namespace baekji
