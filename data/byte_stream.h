#pragma once
// ByteStream: the decompressed bytes of an input file (.gz, .zst, or as it is), in bounded memory.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>

#include "core/digest.h"

namespace baekji {

class ByteStream {
 public:
  /// Compression goes by the last extension. Throws when the file cannot be opened, or starts like a compressed file
  /// without having its extension. Reads the file once, front to back.
  explicit ByteStream(const std::filesystem::path& path);
  ~ByteStream();
  ByteStream(ByteStream&&) noexcept;
  ByteStream& operator=(ByteStream&&) noexcept;

  /// Fills the front of `out` (not empty) and returns how many bytes; 0 at the end of the data. Throws, naming the
  /// file, when the compressed data are damaged or end too early.
  std::size_t read(std::span<char> out);

  /// Bytes of the file consumed so far, for progress.
  std::int64_t file_bytes_read() const;
  /// SHA-256 of the file as it lies on the disk. Call once, after read() has returned 0.
  Digest file_digest();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baekji
