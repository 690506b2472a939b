// A store whose tokens were changed, attributes and all else kept: refused at the start, and what a start does not read
// it says.

#include "trainer/store_check.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>

#include "core/error.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/engine.h"
#include "trainer/run_inputs.h"

namespace baekji::tiny {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Exchanges two neighbouring tokens that differ, somewhere in the middle of the training tokens.
void swap_two_tokens(const fs::path& path) {
  std::int32_t tokens[64] = {};
  TokenStore::open(path).read(1000, 64, tokens);
  std::string pattern;
  for (const std::int32_t token : tokens) {
    pattern.push_back(static_cast<char>(token & 0xFF));
    pattern.push_back(static_cast<char>(token >> 8));
  }
  std::string bytes = read_text(path);
  const std::size_t at = bytes.find(pattern);
  ASSERT_NE(at, std::string::npos);
  std::size_t i = 0;
  while (pattern.compare(2 * i, 2, pattern, 2 * i + 2, 2) == 0) ++i;
  std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(at + 2 * i),
                   bytes.begin() + static_cast<std::ptrdiff_t>(at + 2 * i + 2),
                   bytes.begin() + static_cast<std::ptrdiff_t>(at + 2 * i + 2));
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out) << bytes;  // in place: it may be mapped
}

// The tiny experiment with a copy of its first store, which is the caller's to change.
struct Copied {
  explicit Copied(const std::string& name) : folder(fresh_folder(name)) {
    fs::create_directories(folder);
    store = folder / "a.h5";
    fs::copy_file(data_folder() / "a.h5", store);
    std::string text = read_text(experiment_file());
    const std::string old = (data_folder() / "a.h5").string();
    text.replace(text.find(old), old.size(), store.string());
    std::ofstream(folder / "tiny.toml") << text;
  }
  Experiment load(std::vector<std::string> overrides = {}) const {
    overrides.push_back("run.output='" + (folder / "run").string() + "'");
    return load_experiment(folder / "tiny.toml", overrides);
  }

  fs::path folder;
  fs::path store;
};

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(StoreCheck, AStartRefusesAStoreWithOtherTokens) {
  const Copied copied("other_tokens");
  train_alone(copied.load({"run.steps=2"}));
  const std::string ledger = read_text(copied.folder / "run" / "ledger.jsonl");
  swap_two_tokens(copied.store);
  EXPECT_NO_THROW(open_inputs(copied.load())) << "the attributes are those of the contract";
  const auto refused = AllOf(HasSubstr("root"), HasSubstr(copied.store.string()));
  EXPECT_THAT(error_of([&] { train_alone(copied.load({"run.steps=4"})); }), refused) << "going on";
  EXPECT_EQ(read_text(copied.folder / "run" / "ledger.jsonl"), ledger);
  fs::remove_all(copied.folder / "run");
  EXPECT_THAT(error_of([&] { train_alone(copied.load()); }), refused) << "from the beginning";
  EXPECT_FALSE(fs::exists(copied.folder / "run" / "ledger.jsonl"));
}

// Where a start does not read it, the batch roots show it.
TEST(StoreCheck, BatchRootsAreThoseOfTheTokens) {
  const Copied copied("other_roots");
  const RunInputs before = open_inputs(copied.load());
  std::vector<std::string> roots;
  for (std::int64_t batch = 1; batch <= 40; ++batch) roots.push_back(to_hex(before.loader.batch_root(batch)));
  swap_two_tokens(copied.store);
  const RunInputs after = open_inputs(copied.load());
  EXPECT_EQ(to_hex(after.digest), to_hex(before.digest));
  std::int64_t differ = 0;
  for (std::int64_t batch = 1; batch <= 40; ++batch)
    differ += to_hex(after.loader.batch_root(batch)) == roots[static_cast<std::size_t>(batch - 1)] ? 0 : 1;
  EXPECT_GT(differ, 0);
  std::printf("%d of 40 batch roots differ\n", static_cast<int>(differ));
}

TEST(StoreCheck, SaysWhatItDidNotRead) {
  const Copied copied("not_read");
  const RunInputs inputs = open_inputs(copied.load());
  const auto& stores = inputs.loader.stores();
  const auto& sources = inputs.loader.order().sources();
  ThreadPool pool(2);
  EXPECT_THAT(check_stores(stores, sources, pool), HasSubstr("all tokens read"));
  swap_two_tokens(copied.store);
  EXPECT_THROW(check_stores(open_inputs(copied.load()).loader.stores(), sources, pool), Error);
  EXPECT_THAT(check_stores(stores, sources, pool, 0),
              AllOf(HasSubstr("0 B of"), HasSubstr("not read"), HasSubstr("a ("), HasSubstr("b (")));
  // The smaller one fits.
  const bool a_is_smaller = stores[0].token_bytes() <= stores[1].token_bytes();
  if (!a_is_smaller) {
    EXPECT_THAT(check_stores(stores, sources, pool, stores[1].token_bytes()),
                AllOf(HasSubstr("not read"), HasSubstr("a ("), Not(HasSubstr("b ("))));
  } else {
    EXPECT_THROW(check_stores(stores, sources, pool, stores[0].token_bytes()), Error);
  }
}

}  // namespace
}  // namespace baekji::tiny
