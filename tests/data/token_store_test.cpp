#include "data/token_store.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <thread>

#include "core/hdf5_writer.h"
#include "data/tokenizer.h"
#include "tests/data/test_files.h"

namespace baekji {
namespace {

using testing_data::build_small_store;
using testing_data::error_of;
using testing_data::fresh_folder;
using testing_data::read_file;
using testing_data::some_text;
using testing_data::train_small_tokenizer;
using testing_data::write_file;

class TokenStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fresh_folder();
    model_ = train_small_tokenizer(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<std::int32_t> all(const TokenStore& store) const {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(store.tokens()));
    store.read(0, store.tokens(), ids.data());
    return ids;
  }
  /// Files in the folder whose names start with the output's name.
  std::vector<std::string> leftovers(const std::string& output) const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (entry.path().filename().string().starts_with(output)) names.push_back(entry.path().filename().string());
    }
    return names;
  }
  TokenStoreOptions large_job(const std::string& output) const {
    std::string text;
    for (std::uint64_t d = 0; d < 2000; ++d) text += some_text(d, 20) + "\n%\n";
    write_file(folder_ / "large.txt", text);
    TokenStoreOptions options;
    options.input.files = {folder_ / "large.txt"};
    options.input.separator = "%";
    options.tokenizer = model_;
    options.output = folder_ / output;
    return options;
  }

  std::filesystem::path folder_;
  std::filesystem::path model_;
};

TEST_F(TokenStoreTest, HoldsEveryDocumentOnceShuffledWithASplitAtTheEnd) {
  const Tokenizer tokenizer = Tokenizer::load(model_);
  const TokenStore store = TokenStore::open(build_small_store(folder_, model_, 200));
  EXPECT_EQ(store.info().documents, 200);
  EXPECT_EQ(store.info().training_documents, 180);
  EXPECT_EQ(store.train_tokens(), store.document_begin(180));
  EXPECT_EQ(store.info().eos_id, tokenizer.eos_id());
  EXPECT_EQ(store.info().bos_id, -1);
  std::multiset<std::string> expected;
  for (std::uint64_t d = 0; d < 200; ++d) expected.insert(some_text(100 + d, 1 + static_cast<int>(d) % 7) + "\n");
  std::multiset<std::string> found;
  std::vector<std::string> in_order;
  const std::vector<std::int32_t> ids = all(store);
  for (std::int64_t d = 0; d < 200; ++d) {
    const auto begin = static_cast<std::size_t>(store.document_begin(d));
    const auto end = static_cast<std::size_t>(store.document_begin(d + 1));
    ASSERT_EQ(ids[end - 1], tokenizer.eos_id());
    in_order.push_back(tokenizer.decode(std::span(ids).subspan(begin, end - begin)));
    found.insert(in_order.back());
    EXPECT_EQ(store.document_of(static_cast<std::int64_t>(begin)), d);
    EXPECT_EQ(store.document_of(static_cast<std::int64_t>(end) - 1), d);
  }
  EXPECT_EQ(found, expected);
  EXPECT_NE(in_order[0] + in_order[1], some_text(100, 1) + "\n" + some_text(101, 2) + "\n") << "not shuffled";
  store.verify();
  EXPECT_EQ(store.info().inputs, to_hex(sha256(read_file(folder_ / "documents.txt"))) + "  documents.txt\n");
}

TEST_F(TokenStoreTest, IsTheSameForAnyThreadsAndAnotherForAnotherSeed) {
  TokenStoreOptions options = large_job("a.h5");
  options.threads = 1;
  build_token_store(options);
  const TokenStore one = TokenStore::open(options.output);
  options.output = folder_ / "b.h5";
  options.threads = 3;
  build_token_store(options);
  const TokenStore three = TokenStore::open(options.output);
  EXPECT_EQ(all(one), all(three));
  EXPECT_EQ(one.data_root(), three.data_root());
  options.shuffle_seed = 1;
  options.output = folder_ / "c.h5";
  build_token_store(options);
  EXPECT_NE(TokenStore::open(options.output).data_root(), one.data_root());
  std::printf("data root %s at 1 and 3 threads\n", to_hex(one.data_root()).c_str());
}

TEST_F(TokenStoreTest, WritesBosWhenAsked) {
  TokenStoreOptions options = large_job("bos.h5");
  options.add_bos = true;
  options.add_eos = false;
  options.validation = 0;
  build_token_store(options);
  const TokenStore store = TokenStore::open(options.output);
  EXPECT_EQ(store.info().training_documents, store.info().documents);
  const auto ids = all(store);
  EXPECT_EQ(ids[0], 1);
  EXPECT_EQ(ids[static_cast<std::size_t>(store.document_begin(7))], 1);
  EXPECT_NE(ids.back(), 2);
}

TEST_F(TokenStoreTest, HoldsWideIdsForALargeVocabulary) {
  EXPECT_EQ(token_width_bytes(65536), 2);
  EXPECT_EQ(token_width_bytes(65537), 4);
  // User-defined symbols are the quick way to a vocabulary beyond 16 bits.
  TokenizerTrainingOptions training;
  training.input.files = {folder_ / "train.txt"};
  training.output = folder_ / "wide.model";
  for (int i = 0; i < 66'000; ++i) training.user_symbols.push_back(fmt::format("<|{}|>", i));
  training.vocabulary = 66'400;
  train_tokenizer(training);
  const Tokenizer tokenizer = Tokenizer::load(training.output);
  std::string text;
  for (int i = 0; i < 66'000; i += 100) text += fmt::format("모델은<|{}|> the page\n%\n", i);
  write_file(folder_ / "wide.txt", text);
  TokenStoreOptions options;
  options.input.files = {folder_ / "wide.txt"};
  options.input.separator = "%";
  options.tokenizer = training.output;
  options.output = folder_ / "wide.h5";
  build_token_store(options);
  const TokenStore store = TokenStore::open(options.output);
  store.verify();
  const auto ids = all(store);
  EXPECT_GT(*std::max_element(ids.begin(), ids.end()), 65'535);
  std::multiset<std::string> expected, found;
  for (std::int64_t d = 0; d < 660; ++d) {
    expected.insert(fmt::format("모델은<|{}|> the page\n", d * 100));
    found.insert(
        tokenizer.decode(std::span(ids.data() + store.document_begin(d), ids.data() + store.document_begin(d + 1))));
  }
  EXPECT_EQ(found, expected);
  std::printf("660 documents come back from 32-bit ids up to %d\n", *std::max_element(ids.begin(), ids.end()));
}

TEST_F(TokenStoreTest, KeepsOneTrainingDocumentAndOneHeldOutOfTwo) {
  const TokenStore two = TokenStore::open(build_small_store(folder_, model_, 2, 0.01));
  EXPECT_EQ(two.info().training_documents, 1);
  const TokenStore one = TokenStore::open(build_small_store(folder_, model_, 1, 0.5));
  EXPECT_EQ(one.info().training_documents, 1);
}

TEST_F(TokenStoreTest, RefusesAnotherTokenizer) {
  const TokenStore store = TokenStore::open(build_small_store(folder_, model_, 5));
  store.require_tokenizer(Tokenizer::load(model_).digest(), model_.string());
  std::filesystem::create_directories(folder_ / "other");
  const Tokenizer other = Tokenizer::load(train_small_tokenizer(folder_ / "other", 430));
  const std::string problem = error_of([&] { store.require_tokenizer(other.digest(), other.path().string()); });
  EXPECT_NE(problem.find("another tokenizer"), std::string::npos);
  EXPECT_NE(problem.find(to_hex(other.digest())), std::string::npos);
  EXPECT_NE(problem.find(to_hex(store.info().tokenizer_digest)), std::string::npos);
  std::printf("%s\n", problem.c_str());
}

TEST_F(TokenStoreTest, RefusesMissingForeignAndTruncatedFiles) {
  const auto path = build_small_store(folder_, model_, 50);
  const std::string whole = read_file(path);
  const auto bad = folder_ / "bad.h5";
  EXPECT_NE(error_of([&] { TokenStore::open(folder_ / "none.h5"); }).find("no such file"), std::string::npos);
  for (std::size_t keep = 0; keep < whole.size(); keep += whole.size() / 23 + 1) {
    write_file(bad, std::string_view(whole).substr(0, keep));
    EXPECT_NE(error_of([&] { TokenStore::open(bad); }).find("bad.h5"), std::string::npos) << keep;
  }
  write_file(bad, std::string_view(whole).substr(0, whole.size() - 1));
  EXPECT_NE(error_of([&] { TokenStore::open(bad); }).find("bad.h5"), std::string::npos);
  write_file(bad, "this is text, not HDF5\n");
  EXPECT_NE(error_of([&] { TokenStore::open(bad); }).find("not a readable HDF5 file"), std::string::npos);
  {
    Hdf5Writer foreign(bad);
    foreign.write_attribute("/", "title", std::string("something else"));
    foreign.close();
  }
  EXPECT_NE(error_of([&] { TokenStore::open(bad); }).find("not a token store"), std::string::npos);
  EXPECT_NE(error_of([&] { TokenStore::open(model_); }).find("tok.model"), std::string::npos);
}

TEST_F(TokenStoreTest, NeverHandsOutAnIdBeyondTheVocabulary) {
  const auto path = build_small_store(folder_, model_, 50);
  const std::int64_t tokens = TokenStore::open(path).tokens();
  {
    const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "open", "test");
    const Hdf5Handle dataset(H5Dopen2(file.get(), "/tokens", H5P_DEFAULT), "open", "test");
    const std::uint16_t beyond = 420;
    hdf5_write_range(dataset, H5T_NATIVE_UINT16, 100, 1, &beyond, "test");
  }
  const TokenStore store = TokenStore::open(path);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  EXPECT_NO_THROW(store.read(0, 100, ids.data()));
  EXPECT_NO_THROW(store.read(101, tokens - 101, ids.data()));
  const std::string problem = error_of([&] { store.read(50, 80, ids.data()); });
  EXPECT_NE(problem.find("/tokens[100]"), std::string::npos) << problem;
  EXPECT_NE(problem.find("< 420"), std::string::npos);
  EXPECT_THROW(store.verify(), Error);
  EXPECT_THROW(store.read(-1, 1, ids.data()), Error);
  EXPECT_THROW(store.read(tokens, 1, ids.data()), Error);
  EXPECT_THROW(store.document_of(tokens), Error);
  std::printf("%s\n", problem.c_str());
}

TEST_F(TokenStoreTest, FindsAChangedTokenAChangedOffsetAndAChangedAttribute) {
  const auto path = build_small_store(folder_, model_, 50);
  const std::string whole = read_file(path);
  {
    const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "open", "test");
    const Hdf5Handle dataset(H5Dopen2(file.get(), "/tokens", H5P_DEFAULT), "open", "test");
    std::uint16_t token = 0;
    hdf5_read_range(dataset, H5T_NATIVE_UINT16, 60, 1, &token, "test");
    token = token == 5 ? 6 : 5;
    hdf5_write_range(dataset, H5T_NATIVE_UINT16, 60, 1, &token, "test");
  }
  EXPECT_NE(error_of([&] { TokenStore::open(path).verify(); }).find("root"), std::string::npos);
  write_file(path, whole);
  TokenStore::open(path).verify();
  {
    const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "open", "test");
    const Hdf5Handle dataset(H5Dopen2(file.get(), "/document_offsets", H5P_DEFAULT), "open", "test");
    const std::uint64_t offset = 1'000'000'000;
    hdf5_write_range(dataset, H5T_NATIVE_UINT64, 7, 1, &offset, "test");
  }
  EXPECT_THROW(TokenStore::open(path), Error);
  write_file(path, whole);
  {
    const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "open", "test");
    const Hdf5Handle attribute(H5Aopen(file.get(), "training_documents", H5P_DEFAULT), "open", "test");
    const std::int64_t value = 50;
    hdf5_check(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value), "write", "test");
  }
  EXPECT_NE(error_of([&] { TokenStore::open(path); }).find("data root"), std::string::npos);
}

TEST_F(TokenStoreTest, RefusesEmptyInputAndKeepsTheOldStore) {
  const auto path = build_small_store(folder_, model_, 5);
  const std::string before = read_file(path);
  TokenStoreOptions options;
  options.tokenizer = model_;
  options.output = path;
  write_file(folder_ / "empty.txt", "");
  write_file(folder_ / "empty.jsonl", "{\"text\": \"\"}\n");
  write_file(folder_ / "late.jsonl", "{\"text\": \"fine\"}\n{\"text\": \n");
  for (const std::string name : {"empty.txt", "empty.jsonl", "late.jsonl"}) {
    options.input.files = {folder_ / name};
    EXPECT_NE(error_of([&] { build_token_store(options); }).find(name), std::string::npos);
    EXPECT_EQ(read_file(path), before);
    EXPECT_EQ(leftovers("store.h5"), std::vector<std::string>{"store.h5"});
  }
  options.input.files = {folder_ / "documents.txt"};
  options.validation = 0.7;
  EXPECT_THROW(build_token_store(options), Error);
}

// Runs `work` in a child; gives the child's exit status. The child never returns into the test program.
int in_child(const std::function<void()>& work, const std::function<void(pid_t)>& meanwhile = {}) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      work();
      ::_exit(0);
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ::_exit(3);
    } catch (...) {
      ::_exit(4);
    }
  }
  if (meanwhile) meanwhile(child);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST_F(TokenStoreTest, AFullDiskIsAnErrorAndLeavesNothing) {
  // A limit on the size of files fails writes like a full disk: first in the spool, then in the store (which holds
  // offsets and attributes besides the tokens).
  const TokenStoreOptions options = large_job("full.h5");
  build_token_store(options);
  const auto size = static_cast<rlim_t>(std::filesystem::file_size(options.output));
  const rlim_t spool = static_cast<rlim_t>(TokenStore::open(options.output).tokens()) * 2;
  ASSERT_LT(spool, size);
  std::filesystem::remove(options.output);
  for (const rlim_t limit : {spool / 2, spool + (size - spool) / 2, size - 1}) {
    const int status = in_child([&] {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limits{.rlim_cur = limit, .rlim_max = limit};
      ::setrlimit(RLIMIT_FSIZE, &limits);
      build_token_store(options);
    });
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3) << "limit " << limit << ", status " << status;
    EXPECT_TRUE(leftovers("full.h5").empty()) << "limit " << limit;
  }
}

TEST_F(TokenStoreTest, ARealFullDiskIsAnErrorAndLeavesNothing) {
  TokenStoreOptions options = large_job("disk/full.h5");
  const auto disk = folder_ / "disk";
  std::filesystem::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=600k") != 0) GTEST_SKIP() << "mounting a small disk needs root";
  const auto unmount = [&] { ::umount2(disk.c_str(), MNT_DETACH); };
  const std::string problem = error_of([&] { build_token_store(options); });
  const bool empty = std::filesystem::is_empty(disk);
  options.output = disk / "after.h5";
  options.input.files = {folder_ / "train.txt"};
  EXPECT_NO_THROW(build_token_store(options)) << "a smaller job must work after the failure, in the same process";
  unmount();
  EXPECT_NE(problem.find("No space left"), std::string::npos) << problem;
  EXPECT_TRUE(empty);
  std::printf("%s\n", problem.c_str());
}

TEST_F(TokenStoreTest, AKilledBuilderLeavesNoStoreUnderTheFinalName) {
  const TokenStoreOptions options = large_job("killed.h5");
  build_token_store(options);
  const std::string expected = read_file(options.output);
  std::filesystem::remove(options.output);
  int killed = 0;
  for (int delay_ms = 0; delay_ms < 400; delay_ms += 12) {
    const int status = in_child([&] { build_token_store(options); },
                                [&](pid_t child) {
                                  std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
                                  ::kill(child, SIGKILL);
                                });
    killed += WIFSIGNALED(status) ? 1 : 0;
    if (std::filesystem::exists(options.output)) {
      TokenStore::open(options.output).verify();  // whole, or not there
      std::filesystem::remove(options.output);
    }
    for (const std::string& name : leftovers("killed.h5")) EXPECT_EQ(name, "killed.h5.partial");
    if (!WIFSIGNALED(status)) break;
  }
  EXPECT_GT(killed, 0);
  build_token_store(options);
  EXPECT_EQ(leftovers("killed.h5"), std::vector<std::string>{"killed.h5"});
  EXPECT_EQ(read_file(options.output).size(), expected.size());
  std::printf("killed %d times; the name never showed half a store\n", killed);
}

TEST_F(TokenStoreTest, DataRootIsWrittenDownToTheByte) {
  TokenStoreInfo info;
  info.vocabulary = 300;
  info.documents = 3;
  info.training_documents = 2;
  info.tokens = 10;
  info.document_root.fill(0xAA);
  info.tokenizer_digest.fill(0xBB);
  std::string bytes("baekji-data-root-1\0", 19);
  bytes += std::string(32, '\xAA') + std::string(32, '\xBB');
  bytes += std::string("\x2c\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0", 32);
  EXPECT_EQ(to_hex(data_root(info)), to_hex(sha256(bytes)));
  const std::vector<std::uint32_t> ids{1, 0x10203};
  EXPECT_EQ(document_leaf(ids), merkle_leaf(std::string("\x01\0\0\0\x03\x02\x01\0", 8)));
}

}  // namespace
}  // namespace baekji
