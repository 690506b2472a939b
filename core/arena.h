#pragma once
// Arena: planned, named device memory. The same binding code runs twice: once to measure, once to allocate.

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace baekji {

/// Named memory in categories ("weights", "activations", ...). A measuring arena hands out addresses without memory and
/// only adds up, so that binding a stage to it gives the exact bytes of any layout without memory or data. An
/// allocating arena takes memory from its device, zero-filled. Nothing is freed before the arena is.
class Arena {
 public:
  enum class Mode { kMeasure, kAllocate };
  /// Every allocation starts at a multiple of this, so that alignment never depends on the layout.
  static constexpr std::int64_t kAlignmentBytes = 256;

  explicit Arena(Mode mode, Device device = {}) : mode_(mode), device_(device) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  Mode mode() const { return mode_; }
  Device device() const { return device_; }

  /// A contiguous tensor of `dims`, zero-filled when allocating. Throws when the device has no memory left, naming the
  /// category, the request and the total so far.
  Tensor allocate(std::string_view category, DType type, std::initializer_list<std::int64_t> dims);

  /// Counts memory that is not the arena's own (packed copies, the program itself), so that the table is whole.
  void note(std::string_view category, std::int64_t size_bytes);

  /// Bytes by category, in order of first use.
  struct Row {
    std::string category;
    std::int64_t size_bytes = 0;
    std::int64_t allocations = 0;
  };
  const std::vector<Row>& rows() const { return rows_; }
  std::int64_t total_bytes() const;

 private:
  void* take(std::string_view category, std::int64_t size_bytes);
  void* take_block(std::string_view category, std::int64_t size_bytes);

  struct Block {
    void* base = nullptr;
    std::int64_t size_bytes = 0;
  };
  Mode mode_;
  Device device_;
  std::vector<Row> rows_;
  std::vector<Block> blocks_;
  Block rest_;  // of a block that small allocations share
};

/// The planned-memory table of an arena as text: one line per category, and the total.
std::string memory_table(const Arena& arena);

/// "812 B", "3.4 MiB", "1.2 GiB": bytes for people.
std::string format_bytes(std::int64_t size_bytes);

}  // namespace baekji
