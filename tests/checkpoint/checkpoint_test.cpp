#include <bit>
#include <cmath>

#include "checkpoint/index_file.h"
#include "checkpoint/shard_file.h"
#include "core/hdf5.h"
#include "tests/checkpoint/run_fixture.h"
#include "tests/python.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public RunTest {};

TEST_F(CheckpointTest, ManyWritersAnyReaders) {
  ThreadPool pool(2);
  for (const std::int64_t writers : {1, 3}) {
    CheckpointStore store(checkpoints());
    SampleState saved(sample_tensors(2), writers);
    saved.fill(writers);
    const CheckpointInfo info = info_of(saved, writers, 2);
    store.begin(info.step);
    std::vector<ShardRecord> records;
    for (std::int64_t w = writers - 1; w >= 0; --w) {
      records.push_back(decode_shard_record(encode_shard_record(store.write_shard(info.step, w, saved.shards_of(w)))));
    }
    EXPECT_TRUE(store.list().empty() || store.list().back() != info.step);
    const Checkpoint committed = store.commit(info, records);
    EXPECT_EQ(info, committed.info());
    for (const std::int64_t readers : {1, 2, 7}) {
      SampleState loaded(sample_tensors(2), readers);
      Checkpoint checkpoint = Checkpoint::open(store.path_of(info.step));
      EXPECT_EQ(committed.digest(), checkpoint.digest());
      for (std::int64_t r = 0; r < readers; ++r) checkpoint.load(loaded.shards_of(r));
      EXPECT_TRUE(holds(loaded, writers));
      EXPECT_NO_THROW(check_loaded_state(info, loaded.shards(), pool));
      loaded.shards()[0].values[2][0] += 1.0F;
      EXPECT_NE(std::string::npos,
                error_of([&] { check_loaded_state(info, loaded.shards(), pool); }).find("another root"));
    }
  }
  std::puts("1 and 3 writers, read back by 1, 2, 7 readers: every bit, and the state root");
}

TEST_F(CheckpointTest, MasterWeightsAlone) {
  CheckpointStore store(checkpoints());
  SampleState saved(sample_tensors(2), 1);
  save(store, saved, 1, 2);
  SampleState loaded(sample_tensors(2), 2);
  std::vector<StateShard> shards = loaded.shards();
  for (StateShard& s : shards) s.values[1] = s.values[2] = nullptr;
  Checkpoint::open(store.path_of(1)).load(shards);
  EXPECT_EQ(saved.logical("embedding", StateKind::kMaster), loaded.logical("embedding", StateKind::kMaster));
  EXPECT_EQ(-7.0F, loaded.shards()[0].values[1][0]);
}

TEST_F(CheckpointTest, SpecialValuesKeepTheirBits) {
  CheckpointStore store(checkpoints());
  const std::vector<TensorDeclaration> one{{{.name = "w", .shape = {6}}, {}}};
  SampleState saved(one, 1);
  const std::vector<std::uint32_t> bits{0x7FC01234U, 0xFF800000U, 0x80000000U, 0x00000001U, 0x7FA00001U, 0x3F800000U};
  for (std::size_t i = 0; i < bits.size(); ++i) std::memcpy(saved.shards()[0].values[0] + i, &bits[i], 4);
  store.save(info_of(saved, 1, 1), saved.shards());
  SampleState loaded(one, 1);
  Checkpoint::open(store.path_of(1)).load(loaded.shards());
  EXPECT_EQ(0, std::memcmp(loaded.shards()[0].values[0], bits.data(), 24));
}

TEST_F(CheckpointTest, AnotherGeometryIsRefused) {
  CheckpointStore store(checkpoints());
  SampleState saved(sample_tensors(2), 1);
  save(store, saved, 1, 2);
  Checkpoint checkpoint = Checkpoint::open(store.path_of(1));
  SampleState four(sample_tensors(4), 1);
  EXPECT_NE(std::string::npos, error_of([&] { checkpoint.load(four.shards()); }).find("tensor_grains"));
  SampleState other({{{.name = "nowhere", .shape = {4}}, {}}}, 1);
  EXPECT_NE(std::string::npos, error_of([&] { checkpoint.load(other.shards()); }).find("nowhere"));
  StateShard outside = saved.shards()[0];
  outside.begin += 65536;
  EXPECT_NE(std::string::npos, error_of([&] { checkpoint.load(std::span(&outside, 1)); }).find("outside"));
}

TEST_F(CheckpointTest, IncompleteAndDoubleStatesAreRefused) {
  CheckpointStore store(checkpoints());
  SampleState state(sample_tensors(2), 2);
  state.fill(1);
  const CheckpointInfo info = info_of(state, 1, 2);
  const std::vector<StateShard> all = state.shards();
  for (std::size_t i = 0; i < all.size(); i += 3) {
    std::vector<StateShard> missing = all;
    missing.erase(missing.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_NE("", error_of([&] { store.save(info, missing); })) << i;
  }
  store.begin(1);
  std::vector<ShardRecord> records{store.write_shard(1, 0, all), store.write_shard(1, 1, std::span(all).first(1))};
  EXPECT_NE(std::string::npos, error_of([&] { store.commit(info, records); }).find("overlap"));
  records[1].writer = 5;
  EXPECT_NE(std::string::npos, error_of([&] { store.commit(info, records); }).find("writers 0..1"));
  CheckpointInfo wrong = info;
  wrong.tensor_grains = 4;
  EXPECT_NE(std::string::npos, error_of([&] { store.save(wrong, all); }).find("tensor_grains"));
  for (const char* name : {"a/b", "", ".", "moment1"}) {
    SampleState bad({{{.name = name, .shape = {4}}, {}}}, 1);
    bad.fill(1);
    EXPECT_NE("", error_of([&] { store.save(info_of(bad, 1, 1), bad.shards()); })) << name;
  }
  EXPECT_TRUE(store.list().empty());
}

TEST_F(CheckpointTest, IndexHoldsEveryLogicalTensorWhole) {
  for (const std::int64_t grains : {1, 2, 4}) {
    CheckpointStore store(folder_ / fmt::format("g{}", grains));
    SampleState saved(sample_tensors(grains), 3);
    save(store, saved, 1, grains);
    const Hdf5File index = Hdf5File::open_read_only(store.path_of(1) / kIndexFileName);
    for (const TensorDeclaration& d : saved.declarations()) {
      for (const StateKind kind : kStateKinds) {
        const std::string name = index_dataset_name(d.tensor, kind);
        const std::vector<std::uint64_t> dims = index.dims(name);
        EXPECT_EQ(std::vector<std::uint64_t>(d.tensor.shape.begin(), d.tensor.shape.end()), dims) << name;
        std::vector<float> values(static_cast<std::size_t>(d.tensor.elements()), -1.0F);
        const Hdf5Handle dataset = index.open_dataset(name);
        hdf5_check(H5Dread(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
                   "cannot read", name);
        EXPECT_TRUE(saved.logical(d.tensor.name, kind) == values) << name << " at " << grains << " slices";
      }
    }
  }
  std::puts("index.h5 at 1, 2, 4 slices and 3 owners: every logical tensor and moment exact, padding absent");
}

TEST_F(CheckpointTest, PiecesOfUnalignedRanges) {
  const LogicalTensor tall{.name = "t", .shape = {700, 300}};
  const auto pieces = range_pieces(tall, {.tensor = 0, .slice = 0, .begin = 65536, .count = 65536});
  ASSERT_EQ(3U, pieces.size());  // 136 of row 218, rows 219 to 435, 272 of row 436
  EXPECT_EQ(164, pieces[0].columns);
  EXPECT_EQ(218, pieces[1].row - 1);
  EXPECT_EQ(65536, pieces[0].columns + pieces[1].rows * 300 + pieces[2].columns);
  const LogicalTensor padded{.name = "p", .shape = {5, 4}, .split = Split::kRows, .slices = 4, .padded_rows = 8};
  EXPECT_EQ(1U, range_pieces(padded, {.tensor = 0, .slice = 2, .begin = 0, .count = 8}).size());
  EXPECT_TRUE(range_pieces(padded, {.tensor = 0, .slice = 3, .begin = 0, .count = 8}).empty());
}

TEST_F(CheckpointTest, H5pyReadsTheIndex) {
  const std::string python = find_python("h5py");
  if (python.empty()) GTEST_SKIP() << "python3-h5py is not installed";
  CheckpointStore store(checkpoints());
  SampleState saved(sample_tensors(4), 3);
  save(store, saved, 1, 4);
  std::string names;
  std::string expected;
  for (const TensorDeclaration& d : saved.declarations()) {
    for (const StateKind kind : kStateKinds) {
      const std::string name = index_dataset_name(d.tensor, kind).substr(1);
      names += " " + name;
      const std::vector<float> values = saved.logical(d.tensor.name, kind);
      const std::string shape = d.tensor.shape.size() == 1 ? fmt::format("{}", d.tensor.shape[0])
                                                           : fmt::format("{}x{}", d.tensor.shape[0], d.tensor.shape[1]);
      expected += fmt::format("{}{} {} float32 {}", expected.empty() ? "" : "\n", name, shape,
                              to_hex(sha256(std::as_bytes(std::span(values)))));
    }
  }
  const PythonResult result =
      run_python(python, "tests/checkpoint/read_index.py", (store.path_of(1) / kIndexFileName).string() + names);
  ASSERT_EQ(0, result.status) << result.output;
  EXPECT_EQ(expected, result.output);
  std::puts("h5py reads every logical tensor and moment of index.h5 exactly");
}

TEST_F(CheckpointTest, KeepsTheNewestAndAnchors) {
  ThreadPool pool(1);
  CheckpointStore store(checkpoints());
  const std::vector<TensorDeclaration> small{{{.name = "w", .shape = {64}}, {}}};
  SampleState state(small, 1);
  for (std::int64_t step = 1; step <= 10; ++step) save(store, state, step, 1);
  fs::create_directories(checkpoints() / "step-7");  // not a name of ours
  fs::create_directories(checkpoints() / "step-00000099x");
  EXPECT_EQ((std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), store.list());
  fs::remove(store.path_of(10) / "shard-00000.h5");  // does not count, and stays
  EXPECT_EQ((std::vector<std::int64_t>{1, 2, 3, 5, 6, 7}), store.prune(2, 4));
  EXPECT_EQ((std::vector<std::int64_t>{4, 8, 9, 10}), store.list());
  EXPECT_EQ(9, store.newest_good(pool).checkpoint->info().step);
  EXPECT_THROW(store.prune(0, 0), Error);
  fs::create_directories(checkpoints() / "step-00000011.partial");
  EXPECT_EQ(std::vector<std::string>{"step-00000011.partial"}, store.remove_leftovers());
  EXPECT_TRUE(store.remove_leftovers().empty());
  save(store, state, 9, 1);  // the same step again replaces it
  EXPECT_EQ(9, store.newest_good(pool).checkpoint->info().step);
  EXPECT_TRUE(CheckpointStore(folder_ / "none").list().empty());
  EXPECT_FALSE(CheckpointStore(folder_ / "none").newest_good(pool).checkpoint);
}

TEST_F(CheckpointTest, RefusalSkipsToAnOlderOne) {
  ThreadPool pool(1);
  CheckpointStore store(checkpoints());
  SampleState state({{{.name = "w", .shape = {64}}, {}}}, 1);
  for (std::int64_t step = 1; step <= 3; ++step) save(store, state, step, 1);
  const auto newest = store.newest_good(pool, [](const CheckpointInfo& info) {
    return info.step > 1 ? std::string("its state root is unknown") : std::string();
  });
  EXPECT_EQ(1, newest.checkpoint->info().step);
  ASSERT_EQ(2U, newest.problems.size());
  EXPECT_NE(std::string::npos, newest.problems[0].find("unknown"));
}

}  // namespace
}  // namespace baekji
