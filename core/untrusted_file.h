#pragma once
// The one way to read a file that somebody else may have made: a run folder, a checkpoint, a note, a statement, a key,
// a cluster file. Only regular files are opened (a FIFO would hang, a device has no end), and nothing is read beyond
// the size that such a file can have.

#include <cstdint>
#include <filesystem>
#include <istream>
#include <string>

namespace baekji {

// What an honest file of each kind stays far below, in bytes.
inline constexpr std::int64_t kMostConfigBytes = std::int64_t{1} << 20;     ///< TOML
inline constexpr std::int64_t kMostKeyBytes = std::int64_t{1} << 16;        ///< PEM
inline constexpr std::int64_t kMostNoteBytes = std::int64_t{1} << 20;       ///< signed notes
inline constexpr std::int64_t kMostContractBytes = std::int64_t{1} << 24;   ///< also other small JSON
inline constexpr std::int64_t kMostStatementBytes = std::int64_t{1} << 29;  ///< one root for every step
inline constexpr std::int64_t kMostManifestBytes = std::int64_t{1} << 28;   ///< one entry for every chunk owner
inline constexpr std::int64_t kMostTokenizerBytes = std::int64_t{1} << 28;
inline constexpr std::int64_t kMostScheduleBytes = std::int64_t{1} << 26;
inline constexpr std::int64_t kMostLineBytes = 65535;  ///< of a ledger or of metrics

/// A regular file open for reading; closed with the object. A symbolic link to one counts as one.
class RegularFile {
 public:
  /// Throws Error naming the path when there is no such file, when it cannot be read, or when it is a directory, FIFO,
  /// socket or device. Never waits for a writer.
  explicit RegularFile(const std::filesystem::path& path);
  ~RegularFile();
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  int descriptor() const { return descriptor_; }
  std::int64_t size_bytes() const { return size_bytes_; }

 private:
  int descriptor_ = -1;
  std::int64_t size_bytes_ = 0;
};

/// For libraries that open a file themselves: throws as RegularFile does.
void require_regular_file(const std::filesystem::path& path);

/// The whole file. Throws as RegularFile does, and when it has more than `most_bytes`.
std::string read_untrusted(const std::filesystem::path& path, std::int64_t most_bytes);

/// std::getline with a bound: false at the end of the stream; as there, the stream stands at its end after a last line
/// without newline. Throws Error at `place` when a line has more than `most_bytes`, having read no further.
bool read_line(std::istream& stream, std::string& line, const std::string& place,
               std::int64_t most_bytes = kMostLineBytes);

}  // namespace baekji
