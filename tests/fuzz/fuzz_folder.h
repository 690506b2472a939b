#pragma once
// A folder of its own for a fuzz target's files, and the small tokenizer that several need.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.h"
#include "data/tokenizer_training.h"

namespace baekji::fuzz {

/// Removed when the process ends.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / fmt::format("baekji_fuzz_{}_{}", name, ::getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }

  std::filesystem::path train_tokenizer() const {
    std::string text;
    for (int i = 0; i < 500; ++i)
      text += fmt::format("the model {} learns 모델은 {} 배운다 from a blank page\n", i, i * 7);
    TokenizerTrainingOptions options;
    options.input.files = {write("train.txt", text)};
    options.output = path_ / "tok.model";
    options.vocabulary = 340;
    options.user_symbols = {"<|user|>"};
    options.character_coverage = 1.0;
    baekji::train_tokenizer(options);
    return options.output;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace baekji::fuzz
