#pragma once
// Tokenizer: bytes to ids and back, exactly. A SentencePiece BPE model with byte fallback (Kudo and Richardson 2018,
// "SentencePiece"; Sennrich et al. 2016, BPE), wrapped so that decode(encode(x)) == x for any bytes x: what
// SentencePiece would lose (invalid UTF-8, U+2581, its control pieces' spellings) goes through byte pieces.

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/digest.h"

namespace baekji {

/// An immutable, loaded model. Const members are safe to call from any thread; copies share the model.
class Tokenizer {
 public:
  /// Reads a SentencePiece model file. Throws Error when it is missing or no model, lacks the 256 byte pieces, or
  /// changes text (a normalisation, a dummy prefix, collapsed spaces): such a tokenizer could not give every text back.
  static Tokenizer load(const std::filesystem::path& path);

  /// The ids of `bytes`, without BOS or EOS. The spelling of a control piece ("<s>") in the text is text: ids of
  /// control pieces never come out. User-defined symbols are found in the text.
  std::vector<std::int32_t> encode(std::string_view bytes) const;
  /// The bytes of `ids`; control pieces (BOS, EOS, unknown) give none. Throws on an id outside the vocabulary.
  std::string decode(std::span<const std::int32_t> ids) const;

  std::int64_t vocab_size() const;
  std::int32_t bos_id() const;  ///< -1 when the model has none
  std::int32_t eos_id() const;  ///< -1 when the model has none
  std::int32_t unknown_id() const;
  /// The piece as SentencePiece spells it ("<U+2581>the", "<0x0A>"), for tables.
  std::string piece(std::int32_t id) const;
  /// SHA-256 of the model file: the tokenizer's name in stores and contracts.
  const Digest& digest() const;
  const std::filesystem::path& path() const;

 private:
  friend class Encoder;
  struct Model;
  explicit Tokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  std::shared_ptr<const Model> model_;
};

/// Encodes many texts fast: remembers the ids of words it has seen (bounded). Gives what Tokenizer::encode gives. For
/// one thread at a time.
class Encoder {
 public:
  explicit Encoder(const Tokenizer& tokenizer);

  /// Appends the ids of `bytes` to `ids`.
  void append(std::string_view bytes, std::vector<std::int32_t>& ids);

 private:
  struct Words {  // pieces never cross a word's border, so that words can be encoded one by one
    std::string_view rest;
    std::string_view next();
  };
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  void append_word(std::string_view word, std::vector<std::int32_t>& ids);
  void append_text(std::string_view word, std::vector<std::int32_t>& ids) const;

  std::shared_ptr<const Tokenizer::Model> model_;
  std::unordered_map<std::string, std::vector<std::int32_t>, TextHash, std::equal_to<>> seen_;
};

}  // namespace baekji
