// Saving while training goes on: the same checkpoints, whatever the disk does meanwhile.

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "checkpoint/checkpoint_store.h"
#include "model/parameters.h"
#include "parallel/communicator_threads.h"
#include "proof/ledger.h"
#include "tests/trainer/hooked_files.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/dry_run.h"

namespace baekji::tiny {
namespace {

using testing::HasSubstr;

// Saves after steps 2, 4 and 6, the last two or three of which stay.
const std::string& blocking_root() {
  static const std::string kRoot = train_root(fresh_folder("blocking"), {"run.async_save=false"});
  return kRoot;
}

bool ends_in(const fs::path& path, const std::string& tail) {
  return path.string().ends_with(tail);
}

// Whether training reaches a step's line in the metrics within the time.
bool reaches(const fs::path& run, std::int64_t step, std::chrono::milliseconds time) {
  const std::string line = fmt::format("\"step\":{},", step);
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
    if (read_text(run / "metrics.jsonl").find(line) != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

void train_with(const Experiment& e, FileSystem& files) {
  train_alone(e, {.checkpoint_files = files});
}

std::vector<std::int64_t> steps_saved(const fs::path& run) {
  return CheckpointStore(run / "checkpoints").list();
}

// All three arrays of a tensor, slice by slice.
std::vector<float> values_of(Checkpoint& checkpoint, const LogicalTensor& tensor) {
  const std::int64_t count = tensor.slice_elements();
  std::vector<float> all(static_cast<std::size_t>(3 * tensor.slices * count));
  std::vector<StateShard> shards;
  for (std::int64_t slice = 0; slice < tensor.slices; ++slice) {
    float* const first = all.data() + 3 * slice * count;
    shards.push_back(
        {.tensor = &tensor, .slice = slice, .count = count, .values = {first, first + count, first + 2 * count}});
  }
  checkpoint.load(shards);
  return all;
}

TEST(Save, BesideTrainingOrNotTheCheckpointsAreTheSame) {
  const fs::path beside = fresh_folder("beside");
  EXPECT_EQ(train_root(beside), blocking_root());
  EXPECT_EQ(steps_saved(beside), (std::vector<std::int64_t>{2, 4, 6}));
  ThreadPool pool(1);
  for (const std::int64_t step : steps_saved(beside)) {
    Checkpoint a = Checkpoint::open(CheckpointStore(beside / "checkpoints").path_of(step));
    Checkpoint b = Checkpoint::open(CheckpointStore(data_folder() / "blocking" / "checkpoints").path_of(step));
    EXPECT_NO_THROW(a.verify(pool));
    // The shards' digests differ: HDF5 notes the second at which a dataset was made.
    EXPECT_EQ(a.info(), b.info());
    ASSERT_EQ(a.tensors().size(), b.tensors().size());
    for (const LogicalTensor& tensor : a.tensors())
      EXPECT_EQ(values_of(a, tensor), values_of(b, tensor)) << tensor.name;
    EXPECT_EQ(a.manifest().ranges.size(), b.manifest().ranges.size());
  }
  std::printf("3 checkpoints of the same values, the last root %.16s\n", blocking_root().c_str());
}

TEST(Save, TrainingGoesOnWhileAWriterIsHeldUp) {
  for (const bool beside : {true, false}) {
    const fs::path run = fresh_folder("held");
    std::atomic<int> held{0};
    std::atomic<bool> went_on{false};
    HookedFiles files([&](std::string_view verb, const fs::path& path) {
      if (verb != "sync" || !ends_in(path, "step-00000002.partial/shard-00000.h5")) return;
      ++held;
      // The save after step 4 waits for this one: further than there training cannot come.
      went_on = reaches(run, 4, std::chrono::milliseconds(beside ? 60000 : 300));
    });
    train_with(load(run, {beside ? "run.async_save=true" : "run.async_save=false"}), files);
    EXPECT_EQ(held, 1);
    EXPECT_EQ(went_on, beside);
    EXPECT_EQ(summary(run)["state_root"], blocking_root());
    EXPECT_EQ(steps_saved(run), (std::vector<std::int64_t>{2, 4, 6}));
    std::vector<std::string> records;
    Ledger::open_read_only(run / "ledger.jsonl")
        .for_each([&](std::int64_t, const std::string& kind, const nlohmann::json& body) {
          if (kind == "step") records.push_back(fmt::format("step {}", body["step"].get<std::int64_t>()));
          if (kind == "event" && body["event"] == "checkpoint")
            records.push_back(fmt::format("save {}", body["step"].get<std::int64_t>()));
        });
    const std::string order = fmt::format("{}", fmt::join(records, ", "));
    EXPECT_THAT(order, HasSubstr(beside ? "step 4, save 2" : "step 2, save 2, step 3"));
    std::printf("%s: %s\n", beside ? "beside training" : "blocking", order.c_str());
  }
}

TEST(Save, AKillAtAnyPointOfASaveLeavesTheEarlierOne) {
  blocking_root();
  struct Point {
    const char* verb;
    const char* path;
    std::int64_t newest;
  };
  for (const Point& point :
       {Point{"sync", "step-00000004.partial/shard-00000.h5", 2}, Point{"sync", "step-00000004.partial/index.h5", 2},
        Point{"write", "step-00000004.partial/manifest.json", 2}, Point{"rename", "step-00000004.partial", 2},
        Point{"rename", "step-00000002", 4}}) {
    const fs::path run = fresh_folder("killed_at");
    const Experiment e = load(run, {"run.keep=1"});
    const pid_t child = fork();
    if (child == 0) {
      HookedFiles files([&](std::string_view verb, const fs::path& path) {
        if (verb == point.verb && ends_in(path, point.path)) raise(SIGKILL);
      });
      if (freopen("/dev/null", "w", stdout) == nullptr) _exit(2);
      train_with(e, files);
      _exit(1);
    }
    EXPECT_EQ(wait_for(child), -SIGKILL) << point.verb << " " << point.path;
    EXPECT_EQ(steps_saved(run).back(), point.newest) << point.verb << " " << point.path;
    const auto trained = Ledger::open_read_only(run / "ledger.jsonl").last_step();
    EXPECT_EQ(train_root(run, {"run.keep=1"}), blocking_root()) << point.verb << " " << point.path;
    EXPECT_EQ(steps_saved(run), std::vector<std::int64_t>{6});
    std::printf("killed before %s of %s, %d steps recorded: went on from step %d to the same root\n", point.verb,
                point.path, static_cast<int>(trained), static_cast<int>(point.newest));
  }
}

TEST(Save, AFailureInTheBackgroundEndsTheRunAndTheEarlierOneStands) {
  for (const std::string place : {"shard-00000.h5", "index.h5"}) {
    const fs::path run = fresh_folder("failing");
    HookedFiles files([&](std::string_view verb, const fs::path& path) {
      if (verb == "sync" && ends_in(path, "step-00000004.partial/" + place))
        throw Error("cannot sync a file").values("success", "Input/output error").at(path.string());
    });
    try {
      train_with(load(run), files);
      FAIL() << "the disk failed";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("Input/output error"));
      EXPECT_THAT(error.where(), HasSubstr("step-00000004.partial/" + place));
    }
    EXPECT_EQ(steps_saved(run), std::vector<std::int64_t>{2});
    EXPECT_FALSE(fs::exists(run / "checkpoints/step-00000004.partial"));
    EXPECT_GE(Ledger::open_read_only(run / "ledger.jsonl").last_step(), 5) << "it fails after the next step";
    EXPECT_EQ(train_root(run), blocking_root()) << "on a good disk, the run goes on";
  }
}

TEST(Save, EveryRankSavesItsPartBesideTraining) {
  const std::vector<std::vector<std::string>> layouts{
      {"layout.tensor=2"},
      {"layout.data=2"},
      {"layout.data=2", "layout.tensor=2"},
      {"layout.pipeline=2"},
      {"layout.data=2", "layout.zero=1"},
      {"layout.data=2", "layout.tensor=2", "layout.zero=3"},
      {"layout.pipeline=2", "layout.data=2", "layout.tensor=2", "layout.zero=1"},
  };
  for (const std::vector<std::string>& layout : layouts) {
    const fs::path run = fresh_folder("ranks");
    const Experiment e = load(run, layout);
    const Mesh mesh = e.layout.mesh();
    const std::int64_t writers = e.layout.zero > 0 ? mesh.size() : mesh.size() / mesh.data;
    // The last writer is held up: the others know only from it that the save is not complete.
    const std::string last = fmt::format("step-00000002.partial/shard-{:05}.h5", writers - 1);
    std::atomic<bool> went_on{false};
    HookedFiles files([&](std::string_view verb, const fs::path& path) {
      if (verb == "sync" && ends_in(path, last)) went_on = reaches(run, 4, std::chrono::milliseconds(60000));
    });
    run_as_ranks(narrow<int>(mesh.size()), [&](Communicator& world) { train(e, {.checkpoint_files = files}, world); });
    EXPECT_TRUE(went_on) << mesh.describe();
    EXPECT_EQ(summary(run)["state_root"], blocking_root()) << mesh.describe();
    const Checkpoint saved = Checkpoint::open(CheckpointStore(run / "checkpoints").path_of(2));
    EXPECT_EQ(std::ssize(saved.manifest().shards), writers) << mesh.describe();
    std::printf("%s: %zu shards beside training, the root of one rank\n", mesh.describe().c_str(),
                saved.manifest().shards.size());
  }
}

TEST(Save, ARankWhoseWriterFailsIsNamed) {
  const fs::path run = fresh_folder("failing_rank");
  const Experiment e = load(run, {"layout.tensor=2"});
  HookedFiles files([&](std::string_view verb, const fs::path& path) {
    if (verb == "sync" && ends_in(path, "step-00000004.partial/shard-00001.h5"))
      throw Error("cannot sync a file").values("success", "Input/output error").at(path.string());
  });
  try {
    run_as_ranks(2, [&](Communicator& world) { train(e, {.checkpoint_files = files}, world); });
    FAIL() << "the disk failed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("rank 1"), HasSubstr("step-00000004.partial/shard-00001.h5"),
                                             HasSubstr("Input/output error")));
    std::printf("%s\n", error.what());
  }
  EXPECT_EQ(steps_saved(run), std::vector<std::int64_t>{2});
  EXPECT_EQ(train_root(run), blocking_root());
}

TEST(Save, TheSnapshotStandsInThePlannedMemory) {
  const Experiment e = load("unused");
  std::int64_t snapshot_bytes = 0;
  for (const auto& group : declare_parameters(e.model, e.numerics.tensor_grains).groups) {
    for (const ParameterSpec& member : group.members) {
      const LogicalTensor& t = member.logical;
      snapshot_bytes += t.slices * 3 * round_up(4 * t.slice_elements(), Arena::kAlignmentBytes);
    }
  }
  const std::string table = dry_run(e, {});
  const std::size_t at = table.find("checkpoint snapshot");
  ASSERT_NE(at, std::string::npos) << table;
  const std::string line = table.substr(at, table.find('\n', at) - at);
  EXPECT_THAT(line, HasSubstr(" " + format_bytes(snapshot_bytes)));
  for (const char* without : {"run.async_save=false", "run.checkpoint_every=0", "run.checkpoint_every=6"})
    EXPECT_EQ(dry_run(load("unused", {without}), {}).find("checkpoint snapshot"), std::string::npos) << without;
  std::printf("%s\n", line.c_str());
}

TEST(Save, StallsAreMeasured) {
  const fs::path run = fresh_folder("measured");
  testing::internal::CaptureStdout();
  train_alone(load(run));
  const std::string said = testing::internal::GetCapturedStdout();
  EXPECT_THAT(said, testing::ContainsRegex("saved .*step-00000002 \\(stalled [0-9]+ ms, written in [0-9]+ ms\\)"));
  double in_lines_ms = 0;
  std::ifstream metrics(run / "metrics.jsonl");
  for (std::string text; std::getline(metrics, text);) {
    const auto line = nlohmann::json::parse(text);
    // The copy after step 2 stands in the line of step 3.
    in_lines_ms += line["save_stall_ms"].get<double>();
    EXPECT_EQ(in_lines_ms > 0, line["step"] > 2) << text;
  }
  const auto result = summary(run);
  EXPECT_EQ(result["saves"], 3);
  EXPECT_GT(result["last_save_ms"], 0);
  EXPECT_GE(result["save_stall_ms"].get<double>(), 0.99 * in_lines_ms);
  EXPECT_LT(result["save_stall_share"], 1);
  std::printf("stalled %.2f ms in 2 saves, %.1f%% of training; the last save took %.2f ms\n",
              result["save_stall_ms"].get<double>(), 100 * result["save_stall_share"].get<double>(),
              result["last_save_ms"].get<double>());
}

}  // namespace
}  // namespace baekji::tiny
