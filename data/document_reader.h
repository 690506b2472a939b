#pragma once
// DocumentReader: the documents of a list of text and JSONL files, one after another, in bounded memory.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/digest.h"

namespace baekji {

struct InputOptions {
  std::vector<std::filesystem::path> files;  ///< .txt, .jsonl or .json (one object a line), each also with .gz or .zst
  std::string text_field = "text";           ///< of a JSONL object; a leading '/' makes it a JSON pointer (RFC 6901)
  std::string separator;  ///< a line of plain text that ends a document; empty: a file is one document
  std::int64_t max_document_bytes = std::int64_t{256} << 20;  ///< a longer one is refused: the bound on memory
};

struct Document {
  std::string text;
  std::string place;  ///< "file:line" of its first line, for errors
};

class DocumentReader {
 public:
  /// Throws when there is no file, one is missing, or its kind is unknown: before anything is read.
  explicit DocumentReader(InputOptions options);
  ~DocumentReader();
  DocumentReader(const DocumentReader&) = delete;
  DocumentReader& operator=(const DocumentReader&) = delete;

  /// The next document; false at the end. Text keeps every byte, final newlines too; separator lines are left out, and
  /// so are documents that these leave without text, and blank JSONL lines. Throws, naming file and line, on an invalid
  /// JSON line, a missing or non-text field, damaged or truncated compression, and a document that is too long.
  bool next(Document& document);

  std::int64_t file_bytes_total() const;  ///< of all files as they lie on the disk
  std::int64_t file_bytes_read() const;
  /// One line per file that has been read to its end, as sha256sum prints it; names without folders.
  const std::string& file_digests() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baekji
