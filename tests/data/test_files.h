#pragma once
// Small real files for the data tests: a fresh folder per test, text in two languages, a tokenizer trained once.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "data/token_store_writer.h"
#include "data/tokenizer_training.h"

namespace baekji::testing_data {

/// An empty folder that belongs to the running test alone.
inline std::filesystem::path fresh_folder() {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) /
      fmt::format("baekji_{}_{}_{}", test->test_suite_name(), test->name(), ::getpid());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The text of the Error that `action` throws; fails the test when it throws none.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

/// Sentences from a small grammar, English and Korean, the same for the same arguments.
inline std::string some_text(std::uint64_t seed, int sentences) {
  static const std::vector<std::string> kWords{
      "the",   "model",  "learns", "from",   "a",     "blank",    "page",   "and",    "every",  "token",      "counts",
      "twice", "river",  "walk",   "under",  "stone", "2026",     "light",  "모델은", "빈",     "페이지에서", "배운다",
      "모든",  "토큰을", "센다",   "강가를", "걷는",  "사람들이", "오늘도", "말했다", "한국어", "문장",       "입니다"};
  const RandomStream random("test.text", seed, "");
  std::string text;
  std::uint64_t at = 0;
  for (int s = 0; s < sentences; ++s) {
    const std::uint64_t words = 4 + random.below(at++, 9);
    for (std::uint64_t w = 0; w < words; ++w) text += (w == 0 ? "" : " ") + kWords[random.below(at++, kWords.size())];
    text += s % 4 == 3 ? ".\n" : ". ";
  }
  return text;
}

inline std::filesystem::path train_small_tokenizer(const std::filesystem::path& folder, std::int64_t vocabulary = 420) {
  write_file(folder / "train.txt", some_text(1, 3000));
  TokenizerTrainingOptions options;
  options.input.files = {folder / "train.txt"};
  options.output = folder / "tok.model";
  options.vocabulary = vocabulary;
  options.character_coverage = 1.0;
  options.user_symbols = {"<|user|>", "a\"b,c"};
  train_tokenizer(options);
  return options.output;
}

/// A store of `documents` documents of different lengths.
inline std::filesystem::path build_small_store(const std::filesystem::path& folder,
                                               const std::filesystem::path& tokenizer, int documents,
                                               double validation = 0.1) {
  std::string text;
  for (int d = 0; d < documents; ++d) text += some_text(static_cast<std::uint64_t>(100 + d), 1 + d % 7) + "\n====\n";
  write_file(folder / "documents.txt", text);
  TokenStoreOptions options;
  options.input.files = {folder / "documents.txt"};
  options.input.separator = "====";
  options.tokenizer = tokenizer;
  options.output = folder / "store.h5";
  options.validation = validation;
  build_token_store(options);
  return options.output;
}

}  // namespace baekji::testing_data
