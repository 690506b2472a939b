#pragma once
// FileSystem: our own files (ledger, manifest, metrics, renames), behind an interface so that tests can inject faults.
// HDF5 opens its files itself; those are tested with real kills and real full disks.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace baekji {

/// A file open for appending. Every call throws Error naming the path and the system's reason; nothing is buffered
/// here.
class AppendFile {
 public:
  virtual ~AppendFile() = default;
  /// On success all bytes are in the file (not yet on the disk). On failure a prefix of them may be.
  virtual void append(std::string_view bytes) = 0;
  /// On success everything appended is on the disk.
  virtual void sync() = 0;
};

/// No call follows a symbolic link to the file that it writes: that is an Error which says so. A folder may be one.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::unique_ptr<AppendFile> open_append(const std::filesystem::path& path) = 0;
  /// The whole file. Throws when it does not exist or is no regular file.
  virtual std::string read(const std::filesystem::path& path) = 0;
  /// Creates or replaces the file, synced; on failure the file may hold a prefix.
  virtual void write(const std::filesystem::path& path, std::string_view bytes) = 0;
  /// Shortens the file to `size_bytes`, synced.
  virtual void truncate(const std::filesystem::path& path, std::int64_t size_bytes) = 0;
  /// Atomic on one file system; the parent directories are synced, so a crash shows either name, never neither.
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// Syncs a file (or, for a directory, its entries) that somebody else wrote.
  virtual void sync(const std::filesystem::path& path) = 0;
  virtual void create_directories(const std::filesystem::path& path) = 0;
  /// Removes a file or a whole directory; no error when it is not there.
  virtual void remove_all(const std::filesystem::path& path) = 0;
  /// Whether anything has this name. A link that leads nowhere has: whoever then reads it is told so.
  virtual bool exists(const std::filesystem::path& path) = 0;
  /// The names in a directory, sorted.
  virtual std::vector<std::string> list(const std::filesystem::path& path) = 0;
};

/// The machine's file system. Stateless; one instance may be shared by all threads.
FileSystem& posix_file_system();

}  // namespace baekji
