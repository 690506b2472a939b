#pragma once
// A thin RAII layer over the HDF5 C library: every failure is an Error that names file, object and HDF5's own reason.

#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/types.h"

namespace baekji {

/// Owns an HDF5 identifier of any kind.
class Hdf5Handle {
 public:
  Hdf5Handle() = default;
  /// Takes ownership; throws `problem` at `place` when `id` says failure (< 0).
  Hdf5Handle(hid_t id, const std::string& problem, const std::string& place);
  ~Hdf5Handle() { reset(); }
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    if (this != &other) {
      reset();
      id_ = std::exchange(other.id_, -1);
    }
    return *this;
  }

  hid_t get() const { return id_; }
  bool defined() const { return id_ >= 0; }
  /// Closes now, and throws when HDF5 could not write what it still held (a full disk shows here).
  void close(const std::string& problem, const std::string& place);

 private:
  void reset() noexcept;
  hid_t id_ = -1;
};

/// How errors name an object inside a file.
std::string hdf5_place(const std::string& path, const std::string& name);
/// HDF5's own explanation of the last failure in this thread, innermost frame, and clears it.
std::string hdf5_reason();
/// Throws when `status` < 0.
void hdf5_check(herr_t status, const std::string& problem, const std::string& place);

/// An HDF5 file open for reading (core/hdf5_writer.h writes). Names inside are full paths ("/layers/0/gain").
class Hdf5File {
 public:
  /// Throws a clear error when the file is missing, truncated or no HDF5 file.
  static Hdf5File open_read_only(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  hid_t get() const { return file_.get(); }
  bool has(const std::string& name) const;

  Hdf5Handle open_dataset(const std::string& name) const;
  /// The extents of a dataset.
  std::vector<std::uint64_t> dims(const std::string& name) const;

  // Attributes of an object ("/" for the file itself).
  std::string read_text_attribute(const std::string& object, const std::string& name) const;
  std::int64_t read_integer_attribute(const std::string& object, const std::string& name) const;
  bool has_attribute(const std::string& object, const std::string& name) const;

 private:
  Hdf5File(Hdf5Handle file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  Hdf5Handle file_;
  std::string path_;
};

/// Writes / reads elements [begin, begin + count) of a one-dimensional dataset; `memory_type` is a native HDF5 type.
void hdf5_write_range(const Hdf5Handle& dataset, hid_t memory_type, std::uint64_t begin, std::uint64_t count,
                      const void* source, const std::string& place);
void hdf5_read_range(const Hdf5Handle& dataset, hid_t memory_type, std::uint64_t begin, std::uint64_t count,
                     void* destination, const std::string& place);

}  // namespace baekji
