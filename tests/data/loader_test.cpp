#include "data/loader.h"

#include <gtest/gtest.h>

#include "core/arena.h"
#include "data/tokenizer.h"
#include "tests/data/test_files.h"

namespace baekji {
namespace {

using testing_data::build_small_store;
using testing_data::error_of;
using testing_data::fresh_folder;
using testing_data::train_small_tokenizer;

class LoaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fresh_folder();
    const auto model = train_small_tokenizer(folder_);
    for (const std::string name : {"a", "b"}) {
      std::filesystem::create_directories(folder_ / name);
      const auto path = build_small_store(folder_ / name, model, name == "a" ? 300 : 120);
      config_.sources.push_back(
          {.name = name, .path = path.string(), .weight = 1, .licence = "", .contributed_by = ""});
    }
    config_.tokenizer = model.string();
    digest_ = Tokenizer::load(model).digest();
    stores_ = open_sources(config_, digest_, 420);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  BatchOrder order() const {
    return BatchOrder(1, order_sources(config_, stores_),
                      {{.from_step = 1, .weights = {1, 1}, .context = 32, .global_batch = 8},
                       {.from_step = 4, .weights = {1, 3}, .context = 128, .global_batch = 4}});
  }
  Batch make_batch(std::int64_t count, std::int64_t context) {
    const auto tensor = [&] { return arena_.allocate("batch", DType::kInt32, {count, context}); };
    return {.token_BT = tensor(), .target_BT = tensor(), .position_BT = tensor(), .first_BT = tensor()};
  }

  std::filesystem::path folder_;
  DataConfig config_;
  Digest digest_{};
  std::vector<TokenStore> stores_;
  Arena arena_{Arena::Mode::kAllocate};
};

TEST_F(LoaderTest, FillsInputsTargetsAndDocumentsAsTheOrderSays) {
  for (const bool mask : {false, true}) {
    const Loader loader(stores_, order(), mask);
    int boundaries = 0;
    for (const std::int64_t step : {1, 2, 4, 6}) {
      const std::int64_t context = loader.order().stage(step).context;
      const Batch batch = make_batch(3, context);
      loader.read(step, 1, 3, batch);
      for (std::int64_t b = 0; b < 3; ++b) {
        const SequencePosition at = loader.order().at(step, 1 + b);
        const TokenStore& store = stores_[static_cast<std::size_t>(at.source)];
        std::vector<std::int32_t> expected(static_cast<std::size_t>(context) + 1);
        store.read(at.begin, context + 1, expected.data());
        for (std::int64_t t = 0; t < context; ++t) {
          const std::int64_t i = b * context + t;
          ASSERT_EQ(batch.token_BT.as<std::int32_t>()[i], expected[static_cast<std::size_t>(t)]);
          ASSERT_EQ(batch.target_BT.as<std::int32_t>()[i], expected[static_cast<std::size_t>(t) + 1]);
          const std::int64_t document = store.document_begin(store.document_of(at.begin + t)) - at.begin;
          const std::int64_t first = mask ? std::max<std::int64_t>(document, 0) : 0;
          ASSERT_EQ(batch.first_BT.as<std::int32_t>()[i], first);
          ASSERT_EQ(batch.position_BT.as<std::int32_t>()[i], t - first);
          boundaries += first == t && t > 0 ? 1 : 0;
        }
      }
    }
    if (mask) {
      EXPECT_GT(boundaries, 2);
    }
  }
}

TEST_F(LoaderTest, AnySplitOfAStepReadsTheSame) {
  const Loader loader(stores_, order(), true);
  const Batch whole = make_batch(8, 32);
  const Batch one = make_batch(1, 32);
  loader.read(2, 0, 8, whole);
  for (std::int64_t b = 0; b < 8; ++b) {
    loader.read(2, b, 1, one);
    for (std::int64_t t = 0; t < 32; ++t) {
      ASSERT_EQ(one.target_BT.as<std::int32_t>()[t], whole.target_BT.as<std::int32_t>()[b * 32 + t]);
    }
  }
}

TEST_F(LoaderTest, TrainingNeverSeesValidationTokens) {
  const BatchOrder o = order();
  for (std::int64_t step = 1; step <= 400; ++step) {
    for (std::int64_t i = 0; i < o.stage(step).global_batch; ++i) {
      const SequencePosition at = o.at(step, i);
      ASSERT_LT(at.begin + at.length, stores_[static_cast<std::size_t>(at.source)].train_tokens());
    }
  }
  std::printf("after 400 steps source a is in pass %lld, b in %lld\n", static_cast<long long>(o.highest_pass(400, 0)),
              static_cast<long long>(o.highest_pass(400, 1)));
}

TEST_F(LoaderTest, ValidationCoversTheSplitInOrder) {
  const Loader loader(stores_, order(), true);
  const std::int64_t count = loader.validation_sequences(0, 32);
  ASSERT_GT(count, 2);
  EXPECT_EQ(count, (stores_[0].tokens() - stores_[0].train_tokens() - 1) / 32);
  const Batch batch = make_batch(count, 32);
  loader.read_validation(0, 0, count, batch);
  std::vector<std::int32_t> expected(static_cast<std::size_t>(count) * 32);
  stores_[0].read(stores_[0].train_tokens(), count * 32, expected.data());
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(batch.token_BT.as<std::int32_t>()[i], expected[i]);
  EXPECT_EQ(batch.first_BT.as<std::int32_t>()[0], 0);
  EXPECT_THROW(loader.read_validation(0, 1, count, batch), Error);
  EXPECT_EQ(loader.validation_sequences(1, 1'000'000), 0);
}

TEST_F(LoaderTest, RefusesWrongShapesTokenizersAndVocabularies) {
  const Loader loader(stores_, order(), true);
  EXPECT_NE(error_of([&] { loader.read(1, 0, 2, make_batch(3, 32)); }).find("token_BT"), std::string::npos);
  EXPECT_THROW(loader.read(1, 0, 2, make_batch(2, 128)), Error);
  EXPECT_THROW(loader.read(1, 7, 2, make_batch(2, 32)), Error);
  EXPECT_NE(error_of([&] { open_sources(config_, digest_, 419); }).find("model.vocab"), std::string::npos);
  EXPECT_NE(error_of([&] { open_sources(config_, Digest{}, 420); }).find("another tokenizer"), std::string::npos);
  EXPECT_THROW(Loader({stores_[0]}, order(), true), Error);
  EXPECT_THROW(Loader({stores_[1], stores_[0]}, order(), true), Error);
}

}  // namespace
}  // namespace baekji
