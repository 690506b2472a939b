#include "data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>

#include "core/error.h"
#include "core/file_system.h"
#include "core/untrusted_file.h"
#include "data/utf8.h"

namespace baekji {
namespace {

// A word longer than this (a base64 blob, a text without spaces) is cut: SentencePiece's time and memory grow with the
// length, and the cut depends on the bytes alone.
constexpr std::size_t kMaxWordBytes = 2048;
// Longer words are rarely seen twice.
constexpr std::size_t kMaxRememberedBytes = 48;
constexpr std::size_t kMaxRememberedWords = 1U << 17;

std::string with_spaces(std::string_view piece) {
  std::string bytes;
  while (!piece.empty()) {
    const bool mark = piece.starts_with(kSpaceMark);
    bytes.push_back(mark ? ' ' : piece[0]);
    piece.remove_prefix(mark ? kSpaceMark.size() : 1);
  }
  return bytes;
}

}  // namespace

struct Tokenizer::Model {
  sentencepiece::SentencePieceProcessor processor;
  std::filesystem::path path;
  Digest digest{};
  std::array<std::int32_t, 256> byte_ids{};
  std::vector<std::string> bytes_of;  // by id; empty for control pieces
  std::vector<bool> is_text;          // by id: may stand for text

  void read_pieces();
  void check_lossless() const;
  // The ids SentencePiece gives, or false when they would not decode to `text`.
  bool encode_exactly(std::string_view text, std::vector<std::int32_t>& ids) const;
};

void Tokenizer::Model::read_pieces() {
  byte_ids.fill(-1);
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string& piece = processor.IdToPiece(id);
    const bool text = !processor.IsControl(id) && !processor.IsUnknown(id) && !processor.IsUnused(id);
    is_text.push_back(text);
    if (processor.IsByte(id)) {
      const auto value = static_cast<std::size_t>(std::stoul(piece.substr(3, 2), nullptr, 16));
      byte_ids[value] = id;
      bytes_of.emplace_back(1, static_cast<char>(value));
    } else {
      bytes_of.push_back(text ? with_spaces(piece) : std::string());
    }
  }
  const auto missing = std::find(byte_ids.begin(), byte_ids.end(), -1);
  if (missing != byte_ids.end()) {
    throw Error("the tokenizer lacks byte pieces, so that some text would be lost")
        .values("256 byte pieces", fmt::format("none for byte {}", missing - byte_ids.begin()))
        .at(path.string())
        .hint("train with: baekji tokenizer (or SentencePiece's --byte_fallback)");
  }
}

void Tokenizer::Model::check_lossless() const {
  std::vector<std::int32_t> ids;
  for (const std::string_view probe :
       {"a", " a", "a b", "  a   b ", "\xef\xbc\xa1", "\xe1\x84\x80\xe1\x85\xa1", "A\tb"}) {
    ids.clear();
    if (!encode_exactly(probe, ids)) {
      throw Error("the tokenizer changes text, so that encoding could not be undone")
          .values(fmt::format("the bytes of '{}'", probe), "others")
          .at(path.string())
          .hint("train with: baekji tokenizer (identity normalisation, no dummy prefix, spaces kept)");
    }
  }
}

bool Tokenizer::Model::encode_exactly(std::string_view text, std::vector<std::int32_t>& ids) const {
  std::vector<int> pieces;
  if (!processor.Encode(absl::string_view(text.data(), text.size()), &pieces).ok()) return false;
  std::string_view rest = text;
  for (const int id : pieces) {
    const auto i = static_cast<std::size_t>(id);
    if (id < 0 || i >= is_text.size() || !is_text[i] || !rest.starts_with(bytes_of[i])) return false;
    rest.remove_prefix(bytes_of[i].size());
  }
  if (!rest.empty()) return false;
  ids.insert(ids.end(), pieces.begin(), pieces.end());
  return true;
}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  auto model = std::make_shared<Model>();
  model->path = path;
  if (!std::filesystem::is_regular_file(path)) {
    throw Error("no such tokenizer")
        .values("a SentencePiece model file", "nothing")
        .at(path.string())
        .hint("train one with: baekji tokenizer --input FILES --vocab N --output tok.model");
  }
  const std::string bytes = read_untrusted(path, kMostTokenizerBytes);
  model->digest = sha256(bytes);
  const auto status = model->processor.LoadFromSerializedProto(bytes);
  if (bytes.empty() || !status.ok() || model->processor.GetPieceSize() == 0) {
    throw Error("not a SentencePiece model")
        .values("a model file", bytes.empty() ? "an empty file" : status.ToString())
        .at(path.string())
        .hint("train one with: baekji tokenizer --input FILES --vocab N --output tok.model");
  }
  model->read_pieces();
  model->check_lossless();
  return Tokenizer(std::move(model));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view bytes) const {
  std::vector<std::int32_t> ids;
  Encoder(*this).append(bytes, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab_size()) {
      throw Error("an id outside the tokenizer's vocabulary")
          .values(fmt::format("0..{}", vocab_size() - 1), fmt::format("{}", id))
          .at(path().string());
    }
    bytes += model_->bytes_of[static_cast<std::size_t>(id)];
  }
  return bytes;
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(model_->bytes_of.size());
}
std::int32_t Tokenizer::bos_id() const {
  return model_->processor.bos_id();
}
std::int32_t Tokenizer::eos_id() const {
  return model_->processor.eos_id();
}
std::int32_t Tokenizer::unknown_id() const {
  return model_->processor.unk_id();
}
std::string Tokenizer::piece(std::int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    throw Error("an id outside the tokenizer's vocabulary")
        .values(fmt::format("0..{}", vocab_size() - 1), fmt::format("{}", id))
        .at(path().string());
  }
  return model_->processor.IdToPiece(id);
}
const Digest& Tokenizer::digest() const {
  return model_->digest;
}
const std::filesystem::path& Tokenizer::path() const {
  return model_->path;
}

Encoder::Encoder(const Tokenizer& tokenizer) : model_(tokenizer.model_) {}

// A word is a run of spaces and the other characters up to the next space; a newline is a word of its own (it is a
// user-defined symbol, which no merge crosses).
std::string_view Encoder::Words::next() {
  std::size_t end = 0;
  const std::size_t limit = std::min(rest.size(), kMaxWordBytes);
  if (rest[0] == '\n') {
    end = 1;
  } else {
    while (end < limit && rest[end] == ' ') ++end;
    while (end < limit && rest[end] != ' ' && rest[end] != '\n') ++end;
    if (end == kMaxWordBytes) end = utf8_prefix(rest, end);
  }
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

void Encoder::append(std::string_view bytes, std::vector<std::int32_t>& ids) {
  for (Words words{bytes}; !words.rest.empty();) append_word(words.next(), ids);
}

void Encoder::append_word(std::string_view word, std::vector<std::int32_t>& ids) {
  if (word.size() > kMaxRememberedBytes) return append_text(word, ids);
  auto found = seen_.find(word);
  if (found == seen_.end()) {
    if (seen_.size() >= kMaxRememberedWords) seen_.clear();
    std::vector<std::int32_t> fresh;
    append_text(word, fresh);
    found = seen_.emplace(std::string(word), std::move(fresh)).first;
  }
  ids.insert(ids.end(), found->second.begin(), found->second.end());
}

void Encoder::append_text(std::string_view word, std::vector<std::int32_t>& ids) const {
  const auto as_bytes = [&](std::string_view text) {
    for (const char c : text) ids.push_back(model_->byte_ids[static_cast<unsigned char>(c)]);
  };
  const auto as_text = [&](std::string_view text) {
    // The comparison inside is the guarantee: whatever SentencePiece does to this text, the bytes come back.
    if (!text.empty() && !model_->encode_exactly(text, ids)) as_bytes(text);
  };
  // Cut out what SentencePiece is known to lose, so that only those bytes, not the whole word, become byte pieces.
  std::size_t begin = 0;
  std::size_t i = 0;
  while (i < word.size()) {
    const std::size_t length = utf8_length(word.substr(i));
    const bool lost = length == 0 || word[i] == '\0' || word.substr(i, length) == kSpaceMark;
    const std::size_t step = length == 0 ? 1 : length;
    if (lost) {
      as_text(word.substr(begin, i - begin));
      as_bytes(word.substr(i, step));
      begin = i + step;
    }
    i += step;
  }
  as_text(word.substr(begin));
}

}  // namespace baekji
