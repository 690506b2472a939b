#pragma once
// TensorBoard event files, written directly: TFRecord framing around hand-encoded Event messages. The format is public:
// tensorflow/core/lib/io/record_writer.h (framing), tensorflow/core/util/event.proto and framework/summary.proto
// (fields).

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/file_system.h"

namespace baekji {

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `bytes`.
std::uint32_t crc32c(std::string_view bytes);

/// One TFRecord: length (u64), masked CRC of the length (u32), data, masked CRC of the data (u32), all little-endian;
/// masked = rotate_right(crc, 15) + 0xa282ead8.
std::string tfrecord(std::string_view data);

/// Writes the scalars of one run. Each start of the run opens a further file; a session-start mark at the resumed step
/// tells TensorBoard to forget what an earlier file says of later steps.
class TensorBoardWriter {
 public:
  struct Args {
    FileSystem& files;
    std::filesystem::path folder;  ///< RUN/tensorboard; created when it is not there
    std::int64_t resumed_step = 0;
    std::function<double()> now_s = {};  ///< seconds since 1970; the system's clock when empty
  };
  explicit TensorBoardWriter(const Args& args);

  /// One event with a value for each tag ("train/loss").
  void scalars(std::int64_t step, const std::map<std::string, double>& values);

  const std::filesystem::path& path() const { return path_; }

 private:
  std::function<double()> now_s_;
  std::filesystem::path path_;
  std::unique_ptr<AppendFile> file_;
};

}  // namespace baekji
