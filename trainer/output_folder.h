#pragma once
// OutputFolder: a folder of files that appears whole or not at all.

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "core/digest.h"
#include "core/file_system.h"

namespace baekji {

/// Takes the bytes of a file, in order.
using ByteSink = std::function<void(std::string_view)>;

class OutputFolder {
 public:
  /// Begins "<path>.partial", replacing one that a crash left. Throws, with nothing touched, when `path` is a file or a
  /// folder that holds anything.
  explicit OutputFolder(const std::filesystem::path& path, FileSystem& files = posix_file_system());
  /// Removes the partial folder unless commit() was called.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  /// Writes and syncs a file from what `produce` puts into the sink.
  void write(const std::string& name, const std::function<void(const ByteSink&)>& produce);
  void write(const std::string& name, std::string_view bytes);
  /// Gives the folder its name. Nothing may be written afterwards.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path partial_;
  FileSystem& files_;
  bool committed_ = false;
};

}  // namespace baekji
