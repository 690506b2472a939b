#include "checkpoint/state_snapshot.h"

#include "core/digest.h"
#include "tests/checkpoint/run_fixture.h"

namespace baekji {
namespace {

class StateSnapshotTest : public RunTest {};

TEST_F(StateSnapshotTest, KeepsTheStateOfItsMoment) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    SampleState state(sample_tensors(4), 3);
    state.fill(1);
    StateSnapshot snapshot(state.shards(), pool);
    std::int64_t aligned_bytes = 0;
    for (const StateShard& shard : state.shards())
      aligned_bytes += 3 * round_up(4 * shard.count, Arena::kAlignmentBytes);
    EXPECT_EQ(aligned_bytes, snapshot.size_bytes());
    for (std::int64_t moment = 2; moment <= 3; ++moment) {
      state.fill(moment);
      const Digest then = state_root(state.shards(), pool);
      snapshot.take(pool);
      state.fill(9);
      EXPECT_EQ(then, state_root(snapshot.shards(), pool));
      EXPECT_NE(then, state_root(state.shards(), pool));
    }
    std::printf("%d threads: %zu ranges copied twice, %s for each copy\n", threads, snapshot.shards().size(),
                format_bytes(snapshot.size_bytes()).c_str());
  }
}

TEST_F(StateSnapshotTest, NothingOwnedNeedsNothing) {
  ThreadPool pool(1);
  StateSnapshot snapshot({}, pool);
  EXPECT_NO_THROW(snapshot.take(pool));
  EXPECT_EQ(0, snapshot.size_bytes());
}

TEST_F(StateSnapshotTest, AWriterThatIsAskedToGiveUpDoes) {
  ThreadPool pool(1);
  CheckpointStore store(checkpoints());
  SampleState state(sample_tensors(2), 1);
  save(store, state, 1, 2);
  std::stop_source stop;
  store.begin(2);
  EXPECT_NO_THROW(store.write_shard(2, 0, state.shards(), stop.get_token()));
  stop.request_stop();
  EXPECT_NE(std::string::npos,
            error_of([&] { store.write_shard(2, 0, state.shards(), stop.get_token()); }).find("shard-00000.h5"));
  EXPECT_EQ(1, store.newest_good(pool).checkpoint->info().step);
  store.abandon(2);
  EXPECT_TRUE(store.remove_leftovers().empty());
}

}  // namespace
}  // namespace baekji
