#include "core/arena.h"

#include <algorithm>
#include <array>

namespace baekji {
namespace {

// Addresses of a measuring arena are never read: no process has memory there, so a mistake faults at once. Allocations
// stand one after another, so that places can be compared.
constexpr std::uintptr_t kMeasuredBase = std::uintptr_t{1} << 62U;

void* measured_address(std::int64_t bytes_before) {
  const std::uintptr_t address = kMeasuredBase + static_cast<std::uintptr_t>(bytes_before);
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace

Arena::~Arena() {
  for (const Block& block : blocks_) free_memory(device_, block.base, block.size_bytes);
}

Tensor Arena::allocate(std::string_view category, DType type, std::initializer_list<std::int64_t> dims) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : dims) {
    if (extent < 0 || (extent > 0 && elements > (std::int64_t{1} << 60) / extent)) {
      throw Error("an allocation has an impossible extent")
          .values("0..2^60 elements", fmt::format("{}", extent))
          .at(category);
    }
    elements *= extent;
  }
  const std::int64_t size_bytes = round_up(std::max<std::int64_t>(elements * size_of(type), 1), kAlignmentBytes);
  const std::int64_t bytes_before = mode_ == Mode::kMeasure ? total_bytes() : 0;
  note(category, size_bytes);
  void* data = mode_ == Mode::kMeasure ? measured_address(bytes_before) : take(category, size_bytes);
  return Tensor(data, type, dims, device_);
}

void Arena::note(std::string_view category, std::int64_t size_bytes) {
  auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.category == category; });
  if (row == rows_.end()) row = rows_.insert(rows_.end(), Row{.category = std::string(category)});
  row->size_bytes += size_bytes;
  row->allocations += 1;
}

// The host maps pages as they are touched, so every allocation is a block of its own. A CUDA device hands out whole
// pages of 2 MiB: small allocations share a block.
void* Arena::take(std::string_view category, std::int64_t size_bytes) {
  constexpr std::int64_t kSharedBytes = std::int64_t{8} << 20;
  if (device_.is_host() || size_bytes >= kSharedBytes / 2) return take_block(category, size_bytes);
  if (rest_.size_bytes < size_bytes) rest_ = {take_block(category, kSharedBytes), kSharedBytes};
  void* const data = rest_.base;
  rest_ = {static_cast<std::byte*>(data) + size_bytes, rest_.size_bytes - size_bytes};
  return data;
}

void* Arena::take_block(std::string_view category, std::int64_t size_bytes) {
  void* const base = allocate_memory(device_, size_bytes);
  if (base == nullptr) {
    throw Error("out of memory")
        .values(format_bytes(size_bytes),
                fmt::format("refused by {}", device_.is_host() ? "the system" : device_.describe()))
        .at(fmt::format("{} (planned so far: {})", category, format_bytes(total_bytes())))
        .hint(
            "use a smaller micro_batch, layout.recompute = \"full\", a larger tensor or pipeline degree, or more "
            "memory");
  }
  blocks_.push_back({base, size_bytes});
  return base;
}

std::int64_t Arena::total_bytes() const {
  std::int64_t total = 0;
  for (const Row& row : rows_) total += row.size_bytes;
  return total;
}

std::string memory_table(const Arena& arena) {
  std::string text;
  for (const Arena::Row& row : arena.rows())
    text += fmt::format("  {:<28} {:>12}\n", row.category, format_bytes(row.size_bytes));
  return text + fmt::format("  {:<28} {:>12}\n", "total", format_bytes(arena.total_bytes()));
}

std::string format_bytes(std::int64_t size_bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(size_bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    unit += 1;
  }
  return unit == 0 ? fmt::format("{} B", size_bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace baekji
