#include "data/tokenizer_training.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <queue>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "core/file_system.h"
#include "core/random.h"
#include "data/progress.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace baekji {
namespace {

// SentencePiece skips longer lines than its limit; ours are cut well below it.
constexpr std::size_t kMaxLineBytes = 4096;
constexpr std::size_t kSentencePieceLineLimit = 2 * kMaxLineBytes;

// A uniform sample of lines within a budget of bytes: those with the smallest random keys. The key is a function of the
// line's number, so the same text and seed give the same sample.
class LineSample {
 public:
  LineSample(std::uint64_t seed, std::int64_t budget_bytes)
      : keys_("baekji.tokenizer.sample", seed, "lines"), budget_bytes_(budget_bytes) {}

  void add(std::string_view line) {
    const std::uint64_t number = seen_++;
    const std::uint64_t key = keys_.word(number);
    if (full_ && key > lines_.top().key) return;
    lines_.push({.key = key, .number = number, .text = std::string(line)});
    held_bytes_ += static_cast<std::int64_t>(line.size());
    while (held_bytes_ > budget_bytes_ && lines_.size() > 1) {
      held_bytes_ -= static_cast<std::int64_t>(lines_.top().text.size());
      lines_.pop();
      full_ = true;
    }
  }

  std::int64_t held_bytes() const { return held_bytes_; }

  /// The sample in the order of the text; empties this.
  std::vector<std::string> take() {
    std::vector<Line> lines;
    lines.reserve(lines_.size());
    while (!lines_.empty()) {
      // priority_queue gives no other way to move out of it; the element is popped right after.
      lines.push_back(std::move(const_cast<Line&>(lines_.top())));
      lines_.pop();
    }
    std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.number < b.number; });
    std::vector<std::string> texts;
    texts.reserve(lines.size());
    for (Line& line : lines) texts.push_back(std::move(line.text));
    return texts;
  }

 private:
  struct Line {
    std::uint64_t key = 0;
    std::uint64_t number = 0;
    std::string text;
    bool operator<(const Line& other) const { return std::pair(key, number) < std::pair(other.key, other.number); }
  };
  RandomStream keys_;
  std::int64_t budget_bytes_;
  std::int64_t held_bytes_ = 0;
  std::uint64_t seen_ = 0;
  bool full_ = false;
  std::priority_queue<Line> lines_;
};

// Calls add(line) for the parts of a document that SentencePiece can learn from: its lines, cut at kMaxLineBytes,
// without what always goes through byte pieces.
template <class Add>
void for_learnable_lines(std::string_view text, const Add& add) {
  std::string clean;
  const auto flush = [&] {
    if (!clean.empty()) add(std::string_view(clean));
    clean.clear();
  };
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text.substr(i));
    const std::string_view character = text.substr(i, length);
    if (length == 0 || character == std::string_view("\0", 1) || character == "\n" || character == kSpaceMark) {
      flush();
    } else {
      // Cut long lines before a space, where no piece can cross; blobs without spaces wherever the limit falls.
      const bool soft = clean.size() >= kMaxLineBytes / 2 && character == " ";
      if (soft || clean.size() + length > kMaxLineBytes) flush();
      clean += character;
    }
    i += std::max<std::size_t>(length, 1);
  }
  flush();
}

class VectorIterator : public sentencepiece::SentenceIterator {
 public:
  explicit VectorIterator(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return at_ >= lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  std::size_t at_ = 0;
};

void check_symbols(const std::vector<std::string>& symbols) {
  std::set<std::string_view> taken{"<s>", "</s>", "<unk>", "<pad>"};
  for (const std::string& symbol : symbols) {
    bool valid = !symbol.empty() && symbol.find_first_of(std::string_view(" \n\0", 3)) == std::string::npos &&
                 symbol.find("\xe2\x96\x81") == std::string::npos && symbol.size() <= 256;
    for (std::size_t k = 0; valid && k < symbol.size();) {
      const std::size_t length = utf8_length(std::string_view(symbol).substr(k));
      valid = length > 0;
      k += length;
    }
    if (!valid) {
      throw Error("a user-defined symbol cannot be used")
          .values("1 to 256 bytes of UTF-8 without space, newline, NUL and U+2581", "'" + symbol + "'")
          .at("--symbol");
    }
    const bool is_byte_piece = symbol.size() == 6 && symbol.starts_with("<0x") && symbol.ends_with(">");
    if (is_byte_piece || !taken.insert(symbol).second) {
      throw Error("a user-defined symbol is taken").values("a new symbol", symbol).at("--symbol");
    }
  }
}

// SentencePiece splits lists as CSV: quotes protect commas, and double themselves.
std::string csv(const std::vector<std::string>& values) {
  std::string text;
  for (const std::string& value : values) {
    if (!text.empty()) text += ',';
    text += '"';
    for (const char c : value) text += c == '"' ? std::string("\"\"") : std::string(1, c);
    text += '"';
  }
  return text;
}

std::unordered_map<std::string, std::string> trainer_arguments(const TokenizerTrainingOptions& options) {
  std::vector<std::string> symbols{"\n"};  // a newline is one token, always, and no piece crosses it
  symbols.insert(symbols.end(), options.user_symbols.begin(), options.user_symbols.end());
  return {{"model_type", "bpe"},
          {"vocab_size", std::to_string(options.vocabulary)},
          {"byte_fallback", "true"},
          {"normalization_rule_name", "identity"},
          {"add_dummy_prefix", "false"},
          {"remove_extra_whitespaces", "false"},
          {"allow_whitespace_only_pieces", "true"},
          {"split_digits", options.split_digits ? "true" : "false"},
          {"character_coverage", fmt::format("{}", options.character_coverage)},
          {"max_sentence_length", std::to_string(kSentencePieceLineLimit)},
          {"user_defined_symbols", csv(symbols)},
          {"unk_id", "0"},
          {"bos_id", "1"},
          {"eos_id", "2"},
          {"pad_id", "-1"},
          // Written into the model file, so fixed: the digest must not depend on the machine.
          {"num_threads", "1"},
          {"minloglevel", "2"}};
}

std::vector<std::string> read_sample(const TokenizerTrainingOptions& options, TokenizerTrainingSummary& summary) {
  DocumentReader reader(options.input);
  Progress progress("reading", reader.file_bytes_total(), options.show_progress);
  LineSample sample(options.seed, options.sample_bytes);
  for (Document document; reader.next(document);) {
    summary.text_bytes += static_cast<std::int64_t>(document.text.size());
    for_learnable_lines(document.text, [&](std::string_view line) { sample.add(line); });
    progress.update(reader.file_bytes_read());
  }
  summary.sampled_bytes = sample.held_bytes();
  if (sample.held_bytes() == 0) {
    throw Error("the input holds no text to train a tokenizer on")
        .values("some text", fmt::format("{} bytes", summary.text_bytes))
        .at(options.input.files.front().string());
  }
  return sample.take();
}

double bytes_per_token(const Tokenizer& tokenizer, const std::vector<std::string>& lines) {
  constexpr std::size_t kEnoughBytes = std::size_t{4} << 20;
  Encoder encoder(tokenizer);
  std::vector<std::int32_t> ids;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < lines.size() && bytes < kEnoughBytes; ++i) {
    encoder.append(lines[i], ids);
    bytes += lines[i].size();
  }
  return ids.empty() ? 0 : static_cast<double>(bytes) / static_cast<double>(ids.size());
}

}  // namespace

TokenizerTrainingSummary train_tokenizer(const TokenizerTrainingOptions& options) {
  check_symbols(options.user_symbols);
  // unknown, BOS, EOS, newline, 256 bytes, the symbols, and at least one piece of text.
  const std::int64_t smallest = 3 + 1 + 256 + static_cast<std::int64_t>(options.user_symbols.size()) + 1;
  constexpr std::int64_t kLargest = std::int64_t{1} << 24;
  if (options.vocabulary < smallest || options.vocabulary > kLargest) {
    throw Error("the vocabulary size is out of range")
        .values(fmt::format("{}..{}", smallest, kLargest), fmt::format("{}", options.vocabulary))
        .at("--vocab")
        .hint("3 control pieces, the newline, 256 bytes and your symbols come first");
  }
  if (!(options.character_coverage > 0.9 && options.character_coverage <= 1.0)) {
    throw Error("the character coverage is out of range")
        .values("0.9 < coverage <= 1", fmt::format("{}", options.character_coverage))
        .at("--character-coverage");
  }
  if (options.sample_bytes < 1) {
    throw Error("the sample must hold some text").values(">= 1 byte", fmt::format("{}", options.sample_bytes));
  }
  TokenizerTrainingSummary summary;
  const std::vector<std::string> lines = read_sample(options, summary);

  VectorIterator iterator(lines);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(trainer_arguments(options), &iterator, &model);
  if (!status.ok()) {
    throw Error("SentencePiece could not train a tokenizer of this size on this text")
        .values(fmt::format("{} pieces", options.vocabulary), status.ToString())
        .at(options.output.string())
        .hint("a smaller --vocab for a small text; a larger one, or a lower --character-coverage, for many characters");
  }
  FileSystem& files = posix_file_system();
  const std::filesystem::path partial = options.output.string() + ".partial";
  try {
    if (options.output.has_parent_path()) files.create_directories(options.output.parent_path());
    files.write(partial, model);
    // Loading it again checks that it is what stores and training will accept.
    const Tokenizer tokenizer = Tokenizer::load(partial);
    summary.vocabulary = tokenizer.vocab_size();
    summary.digest = tokenizer.digest();
    summary.bytes_per_token = bytes_per_token(tokenizer, lines);
    files.rename(partial, options.output);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw;
  }
  return summary;
}

}  // namespace baekji
