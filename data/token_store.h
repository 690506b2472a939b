#pragma once
// TokenStore: the tokens of one source, in one HDF5 file, read in place. The format is docs/formats/token-store.md.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/digest.h"
#include "core/thread_pool.h"

namespace baekji {

inline constexpr std::int64_t kTokenStoreVersion = 1;

/// Bytes of a stored token id for a vocabulary of this size: 2 up to 65,536 ids, else 4.
constexpr int token_width_bytes(std::int64_t vocabulary) {
  return vocabulary <= 65536 ? 2 : 4;
}

/// What a store says about itself.
struct TokenStoreInfo {
  std::int64_t vocabulary = 0;  ///< every id is below this
  std::int64_t tokens = 0;
  std::int64_t documents = 0;
  std::int64_t training_documents = 0;  ///< the documents after these are the validation split
  std::int64_t text_bytes = 0;          ///< of all documents before tokenising
  std::int64_t bos_id = -1;             ///< starts every document; -1: it does not
  std::int64_t eos_id = -1;             ///< ends every document; -1: it does not
  std::uint64_t shuffle_seed = 0;
  Digest tokenizer_digest{};  ///< SHA-256 of the tokenizer's model file
  Digest document_root{};     ///< Merkle root (RFC 6962) over the documents' tokens in stored order
  std::string licence;
  std::string inputs;  ///< one line per input file, as sha256sum prints it: 64 hex digits, two spaces, file name
};

/// The leaf of the document tree: RFC 6962 over the document's ids, BOS and EOS included, each as 4 little-endian
/// bytes.
Digest document_leaf(std::span<const std::uint32_t> ids);
/// What enters the experiment's contract: SHA-256 over "baekji-data-root-1", a zero byte, document_root,
/// tokenizer_digest, and vocabulary, documents, training_documents, tokens as 8 little-endian bytes each.
Digest data_root(const TokenStoreInfo& info);

/// An open store: a read-only memory map. Const members are safe to call from any thread. The file must not change
/// while it is open.
class TokenStore {
 public:
  /// Checks everything that is cheap: format, attributes, types, extents against the file's size, document offsets.
  /// Throws Error that names the file for a missing, foreign, truncated or inconsistent one. Reads no tokens.
  static TokenStore open(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  const TokenStoreInfo& info() const;
  std::int64_t tokens() const { return info().tokens; }
  /// Training may use the tokens [0, train_tokens()), validation the rest.
  std::int64_t train_tokens() const { return document_begin(info().training_documents); }
  std::int64_t vocabulary() const { return info().vocabulary; }
  Digest data_root() const { return baekji::data_root(info()); }

  /// The first token of document `document`; tokens() for document == documents.
  std::int64_t document_begin(std::int64_t document) const;
  /// The document that token `token` belongs to.
  std::int64_t document_of(std::int64_t token) const;

  /// Copies tokens [begin, begin + count) to `out`. Throws when the range is outside the store, or an id is not below
  /// vocabulary(), naming file and token; `out` may then hold some of them.
  void read(std::int64_t begin, std::int64_t count, std::int32_t* out) const;

  /// Throws unless the store was made with the tokenizer of this digest.
  void require_tokenizer(const Digest& tokenizer_digest, const std::string& tokenizer_path) const;
  /// Reads every token, and throws unless all ids are valid and the document tree has the recorded root.
  /// `progress(tokens_done)` is called now and then. Over the threads of `pool`, when there is one.
  void verify(const std::function<void(std::int64_t)>& progress = {}, ThreadPool* pool = nullptr) const;
  /// Bytes of the stored tokens.
  std::int64_t token_bytes() const { return tokens() * token_width_bytes(vocabulary()); }

 private:
  struct Mapping;
  explicit TokenStore(std::shared_ptr<const Mapping> mapping) : mapping_(std::move(mapping)) {}
  std::shared_ptr<const Mapping> mapping_;
};

}  // namespace baekji
