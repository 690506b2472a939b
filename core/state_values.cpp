#include "core/state_values.h"

namespace baekji {
namespace {

float* place_of(const StateRange& range) {
  return range.shard.values[static_cast<std::size_t>(range.kind)] + range.begin;
}

std::int64_t bytes_of(const StateRange& range) {
  return range.count * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

std::span<float> values_to_write(const StateRange& range, std::vector<float>& buffer) {
  const auto count = static_cast<std::size_t>(range.count);
  if (range.shard.device.is_host()) return {place_of(range), count};
  buffer.resize(count);
  return buffer;
}

std::span<const float> read_values(const StateRange& range, std::vector<float>& buffer) {
  const std::span<float> values = values_to_write(range, buffer);
  copy_memory({.data = values.data()}, {.data = place_of(range), .device = range.shard.device}, bytes_of(range));
  return values;
}

void write_back(const StateRange& range, const std::vector<float>& buffer) {
  if (range.shard.device.is_host()) return;
  copy_memory({.data = place_of(range), .device = range.shard.device}, {.data = buffer.data()}, bytes_of(range));
}

}  // namespace baekji
