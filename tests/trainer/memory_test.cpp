// The planned memory of a rank against what it takes.

#include "parallel/communicator_threads.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/memory_plan.h"

namespace baekji::tiny {
namespace {

std::int64_t row_bytes(const Arena& arena, const std::string& category) {
  for (const Arena::Row& row : arena.rows()) {
    if (row.category == category) return row.size_bytes;
  }
  return 0;
}

TEST(Memory, ARunTakesWhatItsTableSays) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory is not planned";
#endif
  const fs::path run = fresh_folder("memory");
  const fs::path log = data_folder() / "memory.log";
  std::vector<std::string> arguments{"train", experiment_file()};
  for (const std::string& key :
       {std::string("model.hidden=256"), std::string("model.ffn=1024"), std::string("model.vocab=12000"),
        std::string("run.steps=1"), "run.output='" + run.string() + "'"})
    arguments.insert(arguments.end(), {"--set", key});
  ASSERT_EQ(wait_for(start_program(arguments, log)), 0) << read_text(log);
  const nlohmann::json memory = summary(run).at("memory");
  ASSERT_EQ(memory.size(), 1U);
  const auto planned = memory[0].at("planned_bytes").get<double>();
  const auto peak = memory[0].at("peak_bytes").get<double>();
  std::printf("planned %.1f MB, at most %.1f MB taken: %.3f\n", planned / 1e6, peak / 1e6, peak / planned);
  EXPECT_GT(planned, 200e6);
  EXPECT_NEAR(peak / planned, 1, 0.05);
}

TEST(Memory, TheSummaryHasTheMemoryOfEveryRank) {
  const Experiment e = load(fresh_folder("memory"), {"layout.data=2", "layout.tensor=2", "run.steps=1"});
  run_as_ranks(4, [&](Communicator& world) { train(e, {}, world); });
  const nlohmann::json memory = summary(e.output()).at("memory");
  ASSERT_EQ(memory.size(), 4U);
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    const nlohmann::json& row = memory[static_cast<std::size_t>(rank)];
    const MeshCoordinate at{.pipeline = row.at("pipeline"), .data = row.at("data"), .tensor = row.at("tensor")};
    EXPECT_EQ(e.layout.mesh().rank(at), rank);
    EXPECT_GT(row.at("planned_bytes").get<std::int64_t>(), 0);
    EXPECT_GT(row.at("peak_bytes").get<std::int64_t>(), 0);
  }
}

// Each chunk has one rank that copies and saves it, in every layout.
TEST(Memory, SnapshotsOfAllRanksAreTheStateOnce) {
  ThreadPool pool(1);
  const auto kernels = make_cpu_kernels(pool);
  const auto snapshots = [&](std::vector<std::string> layout) {
    layout.insert(layout.end(), {"model.layers=4", "model.tied_embeddings=true"});
    const Experiment e = load("unused", layout);
    std::int64_t bytes = 0;
    for (std::int64_t rank = 0; rank < e.layout.mesh().size(); ++rank) {
      const auto plan = memory_plan(e, *kernels, {.stores = {}, .at = e.layout.mesh().coordinate(rank)}).device;
      bytes += row_bytes(*plan, "checkpoint snapshot");
    }
    return bytes;
  };
  const std::int64_t alone = snapshots({});
  EXPECT_GT(alone, 0);
  EXPECT_EQ(snapshots({"layout.data=2"}), alone);
  EXPECT_EQ(snapshots({"layout.data=2", "layout.zero=1"}), alone);
  EXPECT_EQ(snapshots({"layout.data=2", "layout.tensor=2", "layout.zero=3"}), alone);
  EXPECT_EQ(snapshots({"layout.pipeline=2", "layout.tensor=2"}), alone);
  std::printf("%ld bytes of state are copied once, in 5 layouts\n", alone);
}

}  // namespace
}  // namespace baekji::tiny
