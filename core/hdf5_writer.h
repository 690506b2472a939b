#pragma once
// Hdf5Writer: a new HDF5 file on a disk that may be full. HDF5 does not survive a write that fails while it closes a
// file: the identifier stays behind with freed memory, and the program crashes later, at its exit or at the next file.
// So our own file driver keeps every failure away from HDF5, and this class reports it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/hdf5.h"

namespace baekji {

class Hdf5Writer {
 public:
  /// Creates or truncates the file. Throws when it cannot be created.
  explicit Hdf5Writer(const std::filesystem::path& path);
  /// Closes without reporting failures: for unwinding. What is on the disk is worthless without close().
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  hid_t get() const { return file_.get(); }
  const std::string& path() const { return path_; }

  /// A contiguous dataset of `type` (an HDF5 file type) and `dims`, not yet written; missing groups are created.
  Hdf5Handle create_dataset(const std::string& name, hid_t type, std::span<const std::uint64_t> dims);
  /// A one-dim contiguous dataset of little-endian fp32 with all its values; missing groups are created.
  void write_dataset(const std::string& name, std::span<const float> values);
  /// Attributes of an object that is there ("/" for the file itself).
  void write_attribute(const std::string& object, const std::string& name, const std::string& text);
  void write_attribute(const std::string& object, const std::string& name, std::int64_t value);

  /// Throws, with the system's reason, when a write has failed so far.
  void check() const;
  /// Writes what HDF5 still holds and closes; throws when anything did not reach the file. Not yet synced.
  void close();

 private:
  struct Status;
  Hdf5Handle create_attribute(const std::string& object, const std::string& name, const Hdf5Handle& type) const;

  std::string path_;
  std::unique_ptr<Status> status_;  // outlives the file
  Hdf5Handle driver_;
  Hdf5Handle file_;
};

}  // namespace baekji
