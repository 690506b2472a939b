#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/data/test_files.h"

namespace baekji {
namespace {

using testing_data::error_of;
using testing_data::fresh_folder;
using testing_data::read_file;
using testing_data::some_text;
using testing_data::write_file;

class TokenizerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::filesystem::path(::testing::TempDir()) / fmt::format("baekji_tokenizer_{}", ::getpid());
    std::filesystem::create_directories(folder_);
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(testing_data::train_small_tokenizer(folder_)));
  }
  static void TearDownTestSuite() {
    tokenizer_.reset();
    std::filesystem::remove_all(folder_);
  }
  static void expect_round_trip(std::string_view bytes) {
    const std::vector<std::int32_t> ids = tokenizer_->encode(bytes);
    ASSERT_EQ(tokenizer_->decode(ids), bytes);
    for (const std::int32_t id : ids) {
      ASSERT_GE(id, 0);
      ASSERT_LT(id, tokenizer_->vocab_size());
      ASSERT_NE(id, tokenizer_->bos_id());
      ASSERT_NE(id, tokenizer_->eos_id());
      ASSERT_NE(id, 0) << "unknown";
    }
  }

  static inline std::filesystem::path folder_;
  static inline std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TokenizerTest, GivesBackTheTextThatSentencePieceWouldLose) {
  const std::vector<std::string> texts{
      "",
      " ",
      "  ",
      "\n",
      "\n\n \n",
      "a",
      " a ",
      "the model  learns\tfrom\r\n a blank page",
      "모델은 빈 페이지에서 배운다.",
      "한글 자모 \xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab 과 똠방각하 𠮷野家 🙂",
      "<s>",
      "</s>",
      "<unk>",
      "<pad>",
      "x<s>y</s>",
      "<0x41>",
      "a<0x0A>b",
      "\xe2\x96\x81",
      "a\xe2\x96\x81"
      "b \xe2\x96\x81 ",
      std::string("\0", 1),
      std::string("a\0b \0", 5),
      "\xff\xfe",
      "abc\x80"
      "def",
      "\xe2\x96",
      "\xed\xa0\x80",
      "\xf4\x90\x80\x80",
      "\xc0\xaf",
      "한\xea\xb5",
      "\xef\xbb\xbf"
      "bom",
      "\xe2\x96\x85",
      " \xe2\x81\x87 ",
      "Ａｆｕｌｌ",
      "ﬁ",
      "e\xcc\x81"};
  for (const std::string& text : texts) {
    SCOPED_TRACE(text);
    expect_round_trip(text);
  }
  std::printf("%zu hard texts come back\n", texts.size());
}

TEST_F(TokenizerTest, GivesBackAnyBytes) {
  const std::vector<std::string> parts{"\xe2\x96\x81",
                                       "<s>",
                                       "</s>",
                                       "<unk>",
                                       " ",
                                       "  ",
                                       "\n",
                                       "the",
                                       "모델",
                                       "\xe2",
                                       "\x96",
                                       "\x81",
                                       "<0x",
                                       "20>",
                                       "<|user|>",
                                       "<|us",
                                       "a\"b,c",
                                       std::string("\0", 1),
                                       "\xf0\x9f\x99\x82",
                                       "0123"};
  std::uint64_t total = 0;
  for (std::uint64_t round = 0; round < 3000; ++round) {
    const RandomStream random("test.tokenizer", round, "");
    std::string text;
    const std::uint64_t length = random.below(0, 60);
    for (std::uint64_t i = 1; i <= length; ++i) {
      if (round % 3 == 0)
        text.push_back(static_cast<char>(random.below(i, 256)));
      else if (round % 3 == 1)
        text += parts[random.below(i, parts.size())];
      else
        text += random.below(2 * i, 4) == 0 ? std::string(1, static_cast<char>(random.below(2 * i + 1, 256)))
                                            : parts[random.below(2 * i + 1, parts.size())];
    }
    expect_round_trip(text);
    if (HasFatalFailure()) FAIL() << "round " << round;
    total += text.size();
  }
  std::string blob;  // longer than a word may be, and no space to cut at
  for (std::uint64_t i = 0; i < 20'000; ++i) blob += i % 7 == 0 ? "강" : "q";
  expect_round_trip(blob);
  std::printf("3000 random texts, %llu bytes, come back\n", static_cast<unsigned long long>(total));
}

TEST_F(TokenizerTest, SymbolsAndNewlinesAreOneTokenAndControlPiecesAreText) {
  EXPECT_EQ(tokenizer_->encode("\n").size(), 1U);
  EXPECT_EQ(tokenizer_->encode("\n\n\n").size(), 3U);
  const auto user = tokenizer_->encode("<|user|>");
  ASSERT_EQ(user.size(), 1U);
  EXPECT_EQ(tokenizer_->piece(user[0]), "<|user|>");
  EXPECT_EQ(tokenizer_->encode("a\"b,c").size(), 1U);
  const auto inside = tokenizer_->encode("the<|user|>the");
  EXPECT_NE(std::find(inside.begin(), inside.end(), user[0]), inside.end());
  EXPECT_GT(tokenizer_->encode("<s>").size(), 1U);
  EXPECT_EQ(tokenizer_->decode(std::vector<std::int32_t>{tokenizer_->bos_id(), tokenizer_->eos_id(), 0}), "");
  EXPECT_EQ(tokenizer_->bos_id(), 1);
  EXPECT_EQ(tokenizer_->eos_id(), 2);
  EXPECT_EQ(tokenizer_->vocab_size(), 420);
}

TEST_F(TokenizerTest, AnEncoderWithAMemoryGivesTheSameIds) {
  Encoder encoder(*tokenizer_);
  for (std::uint64_t i = 0; i < 50; ++i) {
    const std::string text = some_text(i, 20);
    std::vector<std::int32_t> ids;
    encoder.append(text, ids);
    EXPECT_EQ(ids, tokenizer_->encode(text));
  }
}

TEST_F(TokenizerTest, ConcurrentEncodersAgree) {
  const std::string text = some_text(5, 200);
  const auto expected = tokenizer_->encode(text);
  std::vector<std::thread> threads;
  std::vector<std::vector<std::int32_t>> results(4);
  for (auto& result : results) threads.emplace_back([&] { result = tokenizer_->encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST_F(TokenizerTest, EncodesMegabytesASecond) {
  const std::string text = some_text(6, 20'000);
  Encoder encoder(*tokenizer_);
  std::vector<std::int32_t> ids;
  const auto start = std::chrono::steady_clock::now();
  encoder.append(text, ids);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(tokenizer_->decode(ids), text);
  std::printf("%.1f MB/s on text with few words\n", static_cast<double>(text.size()) / 1e6 / seconds);
}

TEST_F(TokenizerTest, DecodeRefusesIdsOutsideTheVocabulary) {
  EXPECT_THROW(tokenizer_->decode(std::vector<std::int32_t>{420}), Error);
  EXPECT_THROW(tokenizer_->decode(std::vector<std::int32_t>{-1}), Error);
  EXPECT_THROW(tokenizer_->piece(420), Error);
}

TEST(TokenizerTraining, DependsOnTextAndOptionsAlone) {
  const auto folder = fresh_folder();
  std::filesystem::create_directories(folder / "other");
  const auto first = testing_data::train_small_tokenizer(folder);
  const auto second = testing_data::train_small_tokenizer(folder / "other");
  EXPECT_EQ(read_file(first), read_file(second));
  EXPECT_EQ(read_file(first).find(folder.string()), std::string::npos) << "no path may enter the model";
  std::filesystem::remove_all(folder);
}

TEST(TokenizerTraining, SamplesLargeInputsWithinItsBudget) {
  const auto folder = fresh_folder();
  write_file(folder / "large.txt", some_text(3, 40'000));
  TokenizerTrainingOptions options;
  options.input.files = {folder / "large.txt"};
  options.output = folder / "tok.model";
  options.vocabulary = 400;
  options.sample_bytes = 100'000;
  options.seed = 4;
  const auto once = train_tokenizer(options);
  EXPECT_LE(once.sampled_bytes, 100'000);
  EXPECT_GT(once.sampled_bytes, 90'000);
  EXPECT_GT(once.text_bytes, 1'000'000);
  EXPECT_EQ(train_tokenizer(options).digest, once.digest);
  options.seed = 5;
  EXPECT_EQ(train_tokenizer(options).vocabulary, 400);
  std::filesystem::remove_all(folder);
}

TEST(TokenizerTraining, RefusesWhatItCannotDoAndLeavesNothing) {
  const auto folder = fresh_folder();
  write_file(folder / "text.txt", some_text(1, 500));
  write_file(folder / "empty.txt", "");
  TokenizerTrainingOptions good;
  good.input.files = {folder / "text.txt"};
  good.output = folder / "tok.model";
  good.vocabulary = 400;
  const auto failing = [&](auto change) {
    TokenizerTrainingOptions options = good;
    change(options);
    const std::string text = error_of([&] { train_tokenizer(options); });
    EXPECT_FALSE(std::filesystem::exists(good.output)) << text;
    EXPECT_FALSE(std::filesystem::exists(good.output.string() + ".partial")) << text;
    return text;
  };
  EXPECT_NE(failing([](auto& o) { o.vocabulary = 100; }).find("out of range"), std::string::npos);
  const std::string too_large = failing([](auto& o) { o.vocabulary = 50'000; });
  EXPECT_NE(too_large.find("--vocab"), std::string::npos);
  const std::string too_small = failing([](auto& o) { o.vocabulary = 270; });
  EXPECT_NE(too_small.find("--vocab"), std::string::npos);
  EXPECT_NE(failing([&](auto& o) { o.input.files = {folder / "empty.txt"}; }).find("no text"), std::string::npos);
  EXPECT_NE(failing([&](auto& o) { o.input.files = {folder / "none.txt"}; }).find("none.txt"), std::string::npos);
  for (const std::string symbol : {"", "a b", "a\nb", "\xff", "<s>", "<0x41>", "\xe2\x96\x81"}) {
    failing([&](auto& o) { o.user_symbols = {symbol}; });
  }
  failing([&](auto& o) { o.user_symbols = {"twice", "twice"}; });
  std::printf("%s\n%s\n", too_large.c_str(), too_small.c_str());
  std::filesystem::remove_all(folder);
}

TEST(TokenizerLoad, RefusesForeignFiles) {
  const auto folder = fresh_folder();
  write_file(folder / "empty.model", "");
  write_file(folder / "text.model", "this is no model\n");
  EXPECT_NE(error_of([&] { Tokenizer::load(folder / "none.model"); }).find("no such tokenizer"), std::string::npos);
  EXPECT_NE(error_of([&] { Tokenizer::load(folder / "empty.model"); }).find("not a SentencePiece model"),
            std::string::npos);
  EXPECT_NE(error_of([&] { Tokenizer::load(folder / "text.model"); }).find("not a SentencePiece model"),
            std::string::npos);
  EXPECT_THROW(Tokenizer::load(folder), Error);
  const std::string model = read_file(testing_data::train_small_tokenizer(folder));
  write_file(folder / "half.model", model.substr(0, model.size() / 2));
  EXPECT_THROW(Tokenizer::load(folder / "half.model"), Error);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace baekji
