// The floating-point environment is set where threads begin and work begins, and a change in between is seen.

#include "core/float_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cfenv>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

#include "core/background_job.h"
#include "core/error.h"
#include "core/thread_pool.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace baekji {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

// What a foreign library does to the thread that calls it.
void spoil() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040U);
#endif
  std::fesetround(FE_UPWARD);
}

// 1.5 times the smallest normal number, halved: subnormal. And 1 + 2^-60, which rounding up makes more than 1.
bool computes_as_it_should() {
  const volatile double smallest = std::numeric_limits<double>::min(), half = 0.5, one = 1, little = 0x1p-60;
  return smallest * half > 0 && one + little == one;
}

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

class FloatEnvironment : public testing::Test {
 protected:
  void TearDown() override { set_float_environment(); }
};

TEST_F(FloatEnvironment, IsSetAndDescribed) {
  set_float_environment();
  EXPECT_THAT(float_environment_problem(), IsEmpty());
  EXPECT_TRUE(computes_as_it_should());
  spoil();
  EXPECT_FALSE(computes_as_it_should()) << "the test does not change what it means to change";
  EXPECT_THAT(float_environment_problem(), HasSubstr("rounding"));
#if defined(__x86_64__)
  EXPECT_THAT(float_environment_problem(), AllOf(HasSubstr("subnormal results become 0"), HasSubstr("rounding up"),
                                                 HasSubstr("subnormal operands count as 0"), HasSubstr("long double")));
#endif
  EXPECT_THAT(error_of([] { require_float_environment("rank 7 (somewhere), step 3"); }),
              AllOf(HasSubstr("rank 7 (somewhere), step 3"), HasSubstr(float_environment_problem())));
  set_float_environment();
  EXPECT_TRUE(computes_as_it_should());
  EXPECT_NO_THROW(require_float_environment("here"));
}

// Threads take over what the one that starts them has; the pool's do not keep it.
TEST_F(FloatEnvironment, APoolComputesInItWhoeverMadeIt) {
  for (const int threads : {1, 2, 3}) {
    spoil();
    ThreadPool pool(threads);
    for (int round = 0; round < 3; ++round) {
      std::atomic<int> good{0};
      spoil();
      pool.run(64, [&](std::int64_t) { good += computes_as_it_should() ? 1 : 0; });
      EXPECT_EQ(good, 64) << threads << " threads";
    }
  }
}

TEST_F(FloatEnvironment, APoolSaysWhichTaskChangedIt) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    EXPECT_THAT(error_of([&] {
                  pool.run(50, [](std::int64_t i) {
                    if (i == 7) spoil();
                  });
                }),
                AllOf(HasSubstr("changed the floating-point environment"), HasSubstr("of the pool")));
    EXPECT_NO_THROW(pool.run(50, [](std::int64_t) {})) << "set again";
    EXPECT_NO_THROW(pool.run(1, [](std::int64_t) {}));
  }
}

TEST_F(FloatEnvironment, ABackgroundJobComputesInIt) {
  spoil();
  std::atomic<bool> good{false};
  BackgroundJob job;
  job.start([&](const std::stop_token&) { good = computes_as_it_should(); });
  job.wait();
  EXPECT_TRUE(good);
}

}  // namespace
}  // namespace baekji
