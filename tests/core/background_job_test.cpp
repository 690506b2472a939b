#include "core/background_job.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "core/error.h"

namespace baekji {
namespace {

void wait_until(const std::atomic<bool>& flag) {
  while (!flag) std::this_thread::yield();
}

TEST(BackgroundJob, RunsBesideItsOwnerOneAfterAnother) {
  BackgroundJob job;
  EXPECT_FALSE(job.running());
  EXPECT_NO_THROW(job.wait());
  int sum = 0;  // not atomic: wait() orders it
  for (int round = 1; round <= 20; ++round) {
    std::atomic<bool> go{false};
    job.start([&](const std::stop_token&) {
      wait_until(go);
      sum += round;
    });
    EXPECT_TRUE(job.running());
    EXPECT_THROW(job.start([](const std::stop_token&) {}), Error) << "the one before was not waited for";
    go = true;
    job.wait();
    EXPECT_FALSE(job.running());
  }
  EXPECT_EQ(sum, 210);
  std::puts("20 jobs, each held until its owner had gone on");
}

TEST(BackgroundJob, AFailureComesOutOfWaitOnceAndTheNextJobRuns) {
  BackgroundJob job;
  const std::thread::id here = std::this_thread::get_id();
  const auto fail = [](const std::stop_token&) { throw Error("the disk is full"); };
  job.start(fail);
  EXPECT_THROW(job.wait(), Error);
  EXPECT_NO_THROW(job.wait());
  job.run_here(fail);
  EXPECT_FALSE(job.running());
  EXPECT_THROW(job.wait(), Error);
  job.run_here([&](const std::stop_token&) { EXPECT_EQ(std::this_thread::get_id(), here); });
  job.wait();
  job.start([&](const std::stop_token&) { EXPECT_NE(std::this_thread::get_id(), here); });
  job.wait();
}

TEST(BackgroundJob, TheEndOfItsOwnerEndsIt) {
  std::atomic<bool> gave_up{false};
  {
    BackgroundJob job;
    job.start([&](const std::stop_token& stop) {
      try {
        while (true) give_up_if_asked(stop, "a test");
      } catch (const Error&) {
        gave_up = true;
        throw;
      }
    });
  }
  EXPECT_TRUE(gave_up);
}

}  // namespace
}  // namespace baekji
