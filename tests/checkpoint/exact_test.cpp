// Checkpoints that a stranger made: nothing more in them than their manifest implies.

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "checkpoint/file_digest.h"
#include "checkpoint/index_file.h"
#include "checkpoint/shard_file.h"
#include "core/hdf5_writer.h"
#include "tests/checkpoint/run_fixture.h"

namespace baekji {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

class ExactTest : public RunTest {
 protected:
  // A good checkpoint of step 3, by two writers.
  Manifest make() {
    CheckpointStore store(checkpoints());
    state_.fill(3);
    store.begin(3);
    const std::vector<ShardRecord> records{store.write_shard(3, 0, state_.shards_of(0)),
                                           store.write_shard(3, 1, state_.shards_of(1))};
    path_ = store.path_of(3);
    return store.commit(info_of(state_, 3, 2), records).manifest();
  }
  // The manifest again, with the digests and sizes that the files have by now.
  void sign(Manifest manifest) const {
    for (SavedFile* file : files_of(manifest)) {
      file->size_bytes = static_cast<std::int64_t>(fs::file_size(path_ / file->name));
      file->digest = file_digest(path_ / file->name);
    }
    posix_file_system().write(path_ / "manifest.json", encode_manifest(manifest));
  }
  static std::vector<SavedFile*> files_of(Manifest& manifest) {
    std::vector<SavedFile*> files{&manifest.index};
    for (SavedFile& shard : manifest.shards) files.push_back(&shard);
    return files;
  }
  std::string verdict() const {
    ThreadPool pool(1);
    try {
      Checkpoint checkpoint = Checkpoint::open(path_);
      checkpoint.verify(pool);  // what a resume asks for
      checkpoint.require_exact(pool);
    } catch (const Error& error) {
      return error.what();
    }
    return "exact";
  }
  static Hdf5Handle edit(const fs::path& path) {
    return Hdf5Handle(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "cannot open", path.string());
  }
  static void set_integer(const fs::path& path, const std::string& object, const char* name, std::int64_t value) {
    const Hdf5Handle file = edit(path);
    hdf5_check(H5Adelete_by_name(file.get(), object.c_str(), name, H5P_DEFAULT), "delete", name);
    const Hdf5Handle space(H5Screate(H5S_SCALAR), "space", name);
    const Hdf5Handle attribute(H5Acreate_by_name(file.get(), object.c_str(), name, H5T_STD_I64LE, space.get(),
                                                 H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                               "create", name);
    hdf5_check(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value), "write", name);
  }

  SampleState state_{sample_tensors(2), 2};
  fs::path path_;
};

TEST_F(ExactTest, WhatWeWriteIsExact) {
  make();
  EXPECT_EQ(verdict(), "exact");
  path_ /= "";
  EXPECT_EQ(verdict(), "exact") << "a slash at the end";
}

TEST_F(ExactTest, TheNameIsTheStepAndStepZeroIsNone) {
  const Manifest good = make();
  fs::rename(path_, checkpoints() / "step-00000036");
  path_ = checkpoints() / "step-00000036";
  EXPECT_THAT(verdict(), AllOf(HasSubstr("directory of another step"), HasSubstr("step-00000003")));
  Manifest zero = good;
  zero.info.step = 0;
  fs::rename(path_, checkpoints() / "step-00000000");
  path_ = checkpoints() / "step-00000000";
  sign(zero);
  EXPECT_THAT(verdict(), HasSubstr("step 0 comes from the seed alone"));
}

TEST_F(ExactTest, NoFileMoreAndAllOfThemFiles) {
  make();
  posix_file_system().write(path_ / "pytorch_model.bin", "weights");
  EXPECT_THAT(verdict(), HasSubstr("pytorch_model.bin"));
  fs::remove(path_ / "pytorch_model.bin");
  fs::create_directory(path_ / "more");
  EXPECT_THAT(verdict(), HasSubstr("more"));
  fs::remove(path_ / "more");
  fs::remove(path_ / "index.h5");
  ASSERT_EQ(mkfifo((path_ / "index.h5").c_str(), 0600), 0);
  EXPECT_THAT(verdict(), HasSubstr("index.h5"));
}

TEST_F(ExactTest, NoDatasetAttributeOrLinkMoreInAShard) {
  const std::vector<std::pair<std::string, std::function<void(const fs::path&)>>> changes{
      {"/foreign",
       [](const fs::path& path) {
         const Hdf5Handle file = edit(path);
         const hsize_t extent = 1;
         const Hdf5Handle space(H5Screate_simple(1, &extent, nullptr), "space", "");
         const Hdf5Handle dataset(
             H5Dcreate2(file.get(), "foreign", H5T_IEEE_F32LE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
             "dataset", "");
       }},
      {"/group",
       [](const fs::path& path) {
         const Hdf5Handle file = edit(path);
         const Hdf5Handle group(H5Gcreate2(file.get(), "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), "group", "");
       }},
      {"/elsewhere",
       [](const fs::path& path) {
         const Hdf5Handle file = edit(path);
         hdf5_check(H5Lcreate_external("/etc/passwd", "/x", file.get(), "elsewhere", H5P_DEFAULT, H5P_DEFAULT), "link",
                    "");
       }},
      {"/circle/circle",
       [](const fs::path& path) {
         const Hdf5Handle file = edit(path);
         hdf5_check(H5Lcreate_hard(file.get(), "/", file.get(), "circle", H5P_DEFAULT, H5P_DEFAULT), "link", "");
       }},
      {"note",
       [](const fs::path& path) {
         const Hdf5Handle file = edit(path);
         const Hdf5Handle space(H5Screate(H5S_SCALAR), "space", "");
         const Hdf5Handle attribute(
             H5Acreate2(file.get(), "note", H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT), "attribute", "");
       }},
      {"@writer", [](const fs::path& path) { set_integer(path, "/", "writer", 1); }},
      {"@step", [](const fs::path& path) { set_integer(path, "/", "step", 4); }},
  };
  for (const auto& [name, change] : changes) {
    const Manifest good = make();
    change(path_ / "shard-00000.h5");
    sign(good);
    EXPECT_THAT(verdict(), HasSubstr(name));
  }
  const Manifest good = make();
  const Manifest::Range& saved = good.ranges[0];
  const std::string dataset =
      shard_dataset_name(good.tensors[0], StateKind::kMaster, saved.range.slice, saved.range.begin);
  const std::string shard = good.shards[static_cast<std::size_t>(saved.shard)].name;
  for (const char* attribute : {"slice", "begin", "count"}) {
    make();
    set_integer(path_ / shard, dataset, attribute, 77);
    sign(good);
    EXPECT_THAT(verdict(), AllOf(HasSubstr("another value"), HasSubstr(attribute)));
  }
  std::printf("%zu changes of a shard, with the manifest made again: each refused\n", changes.size() + 3);
}

TEST_F(ExactTest, TheIndexShowsWhatTheShardsHold) {
  const Manifest good = make();
  const auto with_index_of = [&](const Manifest& manifest) {
    fs::remove(path_ / "index.h5");
    write_index_file(path_ / "index.h5", manifest);
    sign(good);
    return verdict();
  };
  EXPECT_EQ(with_index_of(good), "exact");
  Manifest lying = good;
  for (SavedFile& shard : lying.shards) shard.name = "../../elsewhere/" + shard.name;
  EXPECT_THAT(with_index_of(lying), HasSubstr("shows other values"));
  lying = good;
  lying.ranges[0].shard = 1 - lying.ranges[0].shard;
  EXPECT_THAT(with_index_of(lying), HasSubstr("shows other values"));
  lying = good;
  lying.ranges.pop_back();
  EXPECT_THAT(with_index_of(lying), HasSubstr("parts, not the same"));
  lying = good;
  lying.tensors[0].shape.back() += 1;
  EXPECT_THAT(with_index_of(lying), HasSubstr("another extent"));
  lying = good;
  lying.info.contract = sha256("another");
  EXPECT_THAT(with_index_of(lying), HasSubstr("@contract"));
  with_index_of(good);
  const std::string weights = index_dataset_name(good.tensors[0], StateKind::kMaster);
  const std::string moments = index_dataset_name(good.tensors[0], StateKind::kMoment1);
  {
    const Hdf5Handle file = edit(path_ / "index.h5");
    hdf5_check(H5Ldelete(file.get(), weights.c_str(), H5P_DEFAULT), "delete", weights);
    hdf5_check(H5Lcreate_hard(file.get(), moments.c_str(), file.get(), weights.c_str(), H5P_DEFAULT, H5P_DEFAULT),
               "link", weights);
  }
  sign(good);
  EXPECT_THAT(verdict(), AllOf(HasSubstr("shows other values"), HasSubstr(weights))) << "moments in the weights' place";
  fs::copy_file(path_ / "shard-00000.h5", path_ / "index.h5", fs::copy_options::overwrite_existing);
  sign(good);
  EXPECT_THAT(verdict(), HasSubstr("index.h5"));
}

TEST_F(ExactTest, TheNewestExactOneIsTakenFromAStranger) {
  ThreadPool pool(1);
  CheckpointStore store(checkpoints());
  save(store, state_, 2, 2);
  make();
  posix_file_system().write(path_ / "more", "x");
  EXPECT_EQ(store.newest_good(pool).checkpoint->info().step, 3) << "a resume minds no leftovers";
  const auto newest = store.newest_good(pool, {}, CheckpointStore::Extras::kRefused);
  ASSERT_TRUE(newest.checkpoint);
  EXPECT_EQ(newest.checkpoint->info().step, 2);
  ASSERT_EQ(newest.problems.size(), 1U);
  EXPECT_THAT(newest.problems[0], HasSubstr("more"));
}

}  // namespace
}  // namespace baekji
