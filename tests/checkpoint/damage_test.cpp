// What really happens to checkpoints: bits flip, files vanish, disks fill up, processes are killed.

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <random>

#include "tests/checkpoint/run_fixture.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

class DamageTest : public RunTest {};

std::vector<TensorDeclaration> small_tensors() {
  std::vector<TensorDeclaration> all = sample_tensors(2);
  all.resize(4);
  return all;
}

void flip_byte(const fs::path& path, std::int64_t position) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(position);
  const int byte = file.get();
  file.seekp(position);
  file.put(static_cast<char>(byte ^ 0x10));
}

TEST_F(DamageTest, OneFlippedByteAnywhereIsFoundAndNamed) {
  ThreadPool pool(2);
  CheckpointStore store(checkpoints());
  SampleState state(small_tensors(), 2);
  save(store, state, 1, 2);
  state.fill(2);
  const CheckpointInfo info = info_of(state, 2, 2);
  store.begin(2);
  const std::vector<ShardRecord> records{store.write_shard(2, 0, state.shards_of(0)),
                                         store.write_shard(2, 1, state.shards_of(1))};
  store.commit(info, records);
  std::mt19937_64 random(1);
  int flips = 0;
  for (const auto& entry : fs::directory_iterator(store.path_of(2))) {
    const auto size = static_cast<std::int64_t>(entry.file_size());
    std::vector<std::int64_t> positions{0, size / 2, size - 1};
    for (int i = 0; i < 20; ++i)
      positions.push_back(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(size)));
    for (const std::int64_t position : positions) {
      flip_byte(entry.path(), position);
      const auto newest = store.newest_good(pool);
      ASSERT_TRUE(newest.checkpoint) << entry.path() << " " << position;
      EXPECT_EQ(1, newest.checkpoint->info().step) << entry.path() << " " << position;
      ASSERT_EQ(1U, newest.problems.size());
      EXPECT_NE(std::string::npos, newest.problems[0].find(entry.path().filename().string())) << newest.problems[0];
      flip_byte(entry.path(), position);
      ++flips;
    }
  }
  const auto healed = store.newest_good(pool);
  EXPECT_EQ(2, healed.checkpoint->info().step);
  EXPECT_TRUE(healed.problems.empty());
  std::printf("%d flipped bytes in 4 files, each found and named; the older checkpoint was taken\n", flips);
}

TEST_F(DamageTest, LoadingChecksDigestsItself) {
  CheckpointStore store(checkpoints());
  SampleState state(small_tensors(), 1);
  save(store, state, 1, 2);
  Checkpoint checkpoint = Checkpoint::open(store.path_of(1));
  const fs::path shard = store.path_of(1) / "shard-00000.h5";
  flip_byte(shard, static_cast<std::int64_t>(fs::file_size(shard)) - 5);
  EXPECT_NE(std::string::npos, error_of([&] { checkpoint.load(state.shards()); }).find("damaged"));
  EXPECT_TRUE(holds(state, 1));  // untouched
}

TEST_F(DamageTest, MissingShortAndLongFiles) {
  ThreadPool pool(2);
  CheckpointStore store(checkpoints());
  SampleState state(small_tensors(), 1);
  save(store, state, 1, 2);
  for (const std::string name : {"shard-00000.h5", "index.h5", "manifest.json"}) {
    const auto expect_problem = [&](const std::string& part) {
      const auto newest = store.newest_good(pool);
      EXPECT_EQ(1, newest.checkpoint->info().step);
      ASSERT_EQ(1U, newest.problems.size()) << name;
      EXPECT_NE(std::string::npos, newest.problems[0].find(part)) << newest.problems[0];
    };
    const fs::path path = store.path_of(2) / name;
    save(store, state, 2, 2);
    const auto size = fs::file_size(path);
    for (const auto shorter : {std::uintmax_t{0}, size / 2, size - 1}) {
      fs::resize_file(path, shorter);
      expect_problem(name);
    }
    save(store, state, 2, 2);
    fs::resize_file(path, size + 1);
    expect_problem(name);
    fs::remove(path);
    expect_problem(name);
  }
  fs::remove_all(store.path_of(1));
  EXPECT_FALSE(store.newest_good(pool).checkpoint);
}

std::size_t open_files() {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator{}));
}

// Saves on a disk (or under a file size limit) that is full after `limit` bytes, for limits that hit data, metadata,
// index and manifest.
template <class SetLimit>
void expect_clean_failures(CheckpointStore& store, SampleState& state, std::int64_t needed_bytes,
                           const std::string& reason, const SetLimit& set_limit) {
  ThreadPool pool(1);
  const std::size_t files_before = open_files();
  int failures = 0;
  for (int percent = 0; percent <= 100; percent += 4) {
    set_limit(needed_bytes * percent / 100);
    state.fill(2);
    std::string problem;
    try {
      const CheckpointInfo info{.step = 2, .tensor_grains = 2, .kernel_set = {.device = "cpu"}};
      store.save(info, state.shards());
    } catch (const Error& error) {
      problem = error.what();
      ++failures;
    }
    set_limit(-1);
    if (problem.empty()) {
      EXPECT_TRUE(store.newest_good(pool).checkpoint);
      fs::remove_all(store.path_of(2));
    } else {
      EXPECT_NE(std::string::npos, problem.find(reason)) << problem;
      EXPECT_FALSE(fs::exists(store.path_of(2)));
      EXPECT_TRUE(store.remove_leftovers().empty()) << problem;
    }
    const auto newest = store.newest_good(pool);
    ASSERT_TRUE(newest.checkpoint);
    EXPECT_EQ(1, newest.checkpoint->info().step);
  }
  EXPECT_GE(failures, 15);
  std::printf("%d saves failed cleanly; open files before %zu, after %zu\n", failures, files_before, open_files());
  EXPECT_LE(open_files(), files_before);
  // The same process can save again once there is room.
  state.fill(3);
  EXPECT_NO_THROW(store.save({.step = 3, .tensor_grains = 2, .kernel_set = {.device = "cpu"}}, state.shards()));
  EXPECT_EQ(3, store.newest_good(pool).checkpoint->info().step);
}

TEST_F(DamageTest, FullDisk) {
  const fs::path disk = folder_ / "disk";
  fs::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=32m") != 0) GTEST_SKIP() << "needs the right to mount a tmpfs";
  struct Unmount {
    fs::path path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } unmount{disk};
  CheckpointStore store(disk / "checkpoints");
  SampleState state(sample_tensors(2), 2);
  save(store, state, 1, 2);
  const std::int64_t needed = Checkpoint::open(store.path_of(1)).size_bytes() + 16384;
  // A file of the right size leaves `room` bytes on the disk.
  expect_clean_failures(store, state, needed, "No space left on device", [&](std::int64_t room) {
    const fs::path filler = disk / "filler";
    fs::remove(filler);
    if (room < 0) return;
    const std::int64_t free = static_cast<std::int64_t>(fs::space(disk).available);
    const int fd = ::open(filler.c_str(), O_CREAT | O_WRONLY, 0600);
    ASSERT_EQ(0, ::posix_fallocate(fd, 0, std::max<std::int64_t>(free - room, 1)));
    ::close(fd);
  });
}

TEST_F(DamageTest, FileSizeLimit) {
  std::signal(SIGXFSZ, SIG_IGN);
  CheckpointStore store(checkpoints());
  SampleState state(sample_tensors(2), 2);
  save(store, state, 1, 2);
  const std::int64_t needed = Checkpoint::open(store.path_of(1)).size_bytes();
  rlimit unlimited{};
  ASSERT_EQ(0, ::getrlimit(RLIMIT_FSIZE, &unlimited));
  expect_clean_failures(store, state, needed, "File too large", [&](std::int64_t room) {
    rlimit limit = unlimited;
    if (room >= 0) limit.rlim_cur = static_cast<rlim_t>(room);
    ASSERT_EQ(0, ::setrlimit(RLIMIT_FSIZE, &limit));
  });
  std::signal(SIGXFSZ, SIG_DFL);
}

TEST_F(DamageTest, KilledAtAnyMoment) {
  ThreadPool pool(1);
  std::mt19937_64 random(20261123);
  CheckpointStore store(checkpoints());
  SampleState state(small_tensors(), 2);
  const auto start = std::chrono::steady_clock::now();
  save(store, state, 1, 2);
  const auto save_us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count());
  std::int64_t next = 2;
  int leftovers = 0;
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (std::int64_t step = next;; ++step) {
        try {
          save(store, state, step, 2);
          save(store, state, step, 2);  // replaces: the newest may be away for a moment, an older one is not
          store.prune(3, 0);
        } catch (...) {
          ::_exit(1);
        }
      }
    }
    ::usleep(static_cast<useconds_t>(1000 + random() % (3 * save_us)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "a save failed in the child";
    auto newest = store.newest_good(pool);
    ASSERT_TRUE(newest.problems.empty()) << newest.problems[0];
    ASSERT_TRUE(newest.checkpoint);
    SampleState loaded(small_tensors(), 1);
    newest.checkpoint->load(loaded.shards());
    ASSERT_TRUE(holds(loaded, newest.checkpoint->info().step));
    check_loaded_state(newest.checkpoint->info(), loaded.shards(), pool);
    ASSERT_GE(newest.checkpoint->info().step + 1, next - 1);
    next = newest.checkpoint->info().step + 1;
    leftovers += store.remove_leftovers().empty() ? 0 : 1;
  }
  EXPECT_GT(next, 3);
  std::printf(
      "30 kills in the middle of saving (%d left a partial directory), %d checkpoints: the newest always loaded and "
      "matched\n",
      leftovers, static_cast<int>(next - 1));
}

}  // namespace
}  // namespace baekji
