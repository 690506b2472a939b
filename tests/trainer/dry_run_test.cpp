#include "trainer/dry_run.h"

#include <gmock/gmock.h>

#include "core/thread_pool.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/rank_kernels.h"
#include "trainer/rehearsal.h"

namespace baekji {
namespace {

using testing::HasSubstr;

const std::vector<std::string> kPipeline{"layout.pipeline=2", "layout.schedule='zb-h1'", "numerics.micro_batch=1"};

std::vector<std::string> with(std::vector<std::string> overrides, const std::string& more) {
  overrides.push_back(more);
  return overrides;
}

TEST(DryRun, TellsStagesScheduleAndTheMemoryOfEachPipelineRank) {
  const std::string text = dry_run(tiny::load("unused", kPipeline), {});
  EXPECT_THAT(text, HasSubstr("stage 0    on pipeline rank 0: embedding, layers 0 to 0\n"));
  EXPECT_THAT(text, HasSubstr("stage 1    on pipeline rank 1: layers 1 to 1, head\n"));
  EXPECT_THAT(text, HasSubstr("schedule   zb-h1, 8 micro-batches, bubble "));
  EXPECT_THAT(text, HasSubstr("at pipeline 0\n"));
  EXPECT_THAT(text, HasSubstr("at pipeline 1\n"));
  std::fputs(text.c_str(), stdout);
}

TEST(DryRun, AScheduleGoesOutAsTextAndComesBackIn) {
  const tiny::fs::path text = tiny::data_folder() / "schedule.txt";
  const tiny::fs::path timeline = tiny::data_folder() / "timeline.svg";
  const std::string named = dry_run(tiny::load("unused", kPipeline), {.timeline = timeline, .schedule = text});
  EXPECT_THAT(tiny::read_text(text), HasSubstr("RF0 F0 I0 SB0"));
  EXPECT_THAT(tiny::read_text(timeline), HasSubstr("tiny: zb-h1"));
  const std::string file = "layout.schedule_file='" + text.string() + "'";
  EXPECT_THAT(dry_run(tiny::load("unused", with(kPipeline, file)), {}), HasSubstr("8 micro-batches, bubble "));

  const auto refusal = [&](const std::string& more) -> std::string {
    try {
      tiny::load("unused", with(with(kPipeline, file), more));
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal("layout.recompute=full"), HasSubstr("need what recomputation drops"));
  EXPECT_THAT(refusal("layout.pipeline=1"), HasSubstr("another pipeline degree"));
  EXPECT_THAT(refusal("layout.data=2"), HasSubstr("another number of micro-batches"));
  std::ofstream(text) << "schedule pipeline 2 virtual_stages 1 micro_batches 8\n0: F0\n1: F0\n";
  EXPECT_THAT(refusal("layout.data=1"), HasSubstr("leaves forward passes out"));
}

TEST(DryRun, AJobOfAnySizeIsRehearsed) {
  const std::vector<std::string> layout{
      "numerics.micro_batch=1", "numerics.replicas=128", "numerics.global_batch=512", "numerics.tensor_grains=4",
      "layout.pipeline=2",      "layout.data=96",        "layout.tensor=4",           "layout.zero=1"};
  const Experiment e = tiny::load("unused", layout);
  const Rehearsal rehearsal = rehearse(e, 768, 0);
  ASSERT_EQ(rehearsal.kind_of_rank.size(), 768U);
  std::int64_t ranks = 0;
  for (const RankKind& kind : rehearsal.kinds) {
    ranks += kind.ranks;
    ThreadPool pool(1);
    const auto kernels = make_planning_kernels(e.layout, pool);
    EXPECT_EQ(kind.memory_bytes, memory_plan(e, *kernels, {.at = kind.first}).device->total_bytes());
    EXPECT_LE(kind.memory_bytes, rehearsal.largest.device->total_bytes());
  }
  EXPECT_EQ(ranks, 768);
  // Data ranks with two replicas and with one, those that own chunks and those that own none, both ends of the
  // pipeline.
  EXPECT_GE(rehearsal.kinds.size(), 6U);
  const std::string text = dry_run(e, {.ranks = 768});
  EXPECT_THAT(text, HasSubstr("768 ranks of "));
  EXPECT_THAT(text, HasSubstr("largest rank"));
  std::fputs(text.c_str(), stdout);
  try {
    dry_run(e, {.ranks = 512});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("768 ranks for 2x96x4"), HasSubstr("512 ranks")));
  }
}

}  // namespace
}  // namespace baekji
