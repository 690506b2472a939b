#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <vector>

#include "core/error.h"

namespace baekji {
namespace {

TEST(ThreadPool, EveryIndexRunsOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
      for (int repeat = 0; repeat < 20; ++repeat) {  // one call close upon another: late workers must not see the next
        std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
        pool.run(count, [&](std::int64_t i) { runs[static_cast<std::size_t>(i)].fetch_add(1); });
        for (const auto& n : runs) ASSERT_EQ(n.load(), 1) << threads << " threads, " << count << " tasks";
      }
    }
  }
}

TEST(ThreadPool, RangesCoverExactly) {
  ThreadPool pool(3);
  for (const std::int64_t size : {0, 1, 63, 64, 65, 1000}) {
    std::vector<std::atomic<int>> seen(static_cast<std::size_t>(size));
    std::atomic<int> wrong{0};
    pool.for_ranges(size, 64, [&](std::int64_t begin, std::int64_t end) {
      if (begin % 64 != 0 || end - begin > 64 || begin >= end) wrong.fetch_add(1);
      for (std::int64_t i = begin; i < end; ++i) seen[static_cast<std::size_t>(i)].fetch_add(1);
    });
    EXPECT_EQ(wrong.load(), 0);
    for (const auto& n : seen) ASSERT_EQ(n.load(), 1);
  }
}

TEST(ThreadPool, AnExceptionReachesTheCallerAndThePoolLives) {
  for (const int threads : {1, 2, 8}) {
    ThreadPool pool(threads);
    for (int repeat = 0; repeat < 10; ++repeat) {
      EXPECT_THROW(pool.run(100,
                            [](std::int64_t i) {
                              if (i == 37) throw Error("task 37 failed");
                            }),
                   Error);
    }
    std::atomic<int> runs{0};
    pool.run(100, [&](std::int64_t) { runs.fetch_add(1); });
    EXPECT_EQ(runs.load(), 100);
  }
}

TEST(ThreadPool, NeedsAThread) {
  EXPECT_THROW(ThreadPool(0), Error);
}

}  // namespace
}  // namespace baekji
