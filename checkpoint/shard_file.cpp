#include "checkpoint/shard_file.h"

#include <map>

#include "core/background_job.h"
#include "core/error.h"
#include "core/hdf5_writer.h"
#include "core/state_values.h"

namespace baekji {
namespace {

void check_shard(const StateShard& shard) {
  const bool inside = shard.slice >= 0 && shard.slice < shard.tensor->slices && shard.begin >= 0 && shard.count > 0 &&
                      shard.begin + shard.count <= shard.tensor->slice_elements();
  if (!inside) {
    throw Error("a part of the state lies outside its tensor")
        .values(describe_geometry(*shard.tensor),
                fmt::format("slice {}, elements {} to {}", shard.slice, shard.begin, shard.begin + shard.count))
        .at(shard.tensor->name);
  }
  for (const float* const values : shard.values) {
    if (values == nullptr)
      throw Error("a checkpoint holds master weights and both moments")
          .values("three arrays", "a missing one")
          .at(shard.tensor->name);
  }
}

void write_range(Hdf5Writer& file, const StateShard& shard, std::vector<float>& buffer) {
  for (const StateKind kind : kStateKinds) {
    const std::string name = shard_dataset_name(*shard.tensor, kind, shard.slice, shard.begin);
    file.write_dataset(name, read_values({.shard = shard, .kind = kind, .count = shard.count}, buffer));
    file.write_attribute(name, "slice", shard.slice);
    file.write_attribute(name, "begin", shard.begin);
    file.write_attribute(name, "count", shard.count);
  }
}

}  // namespace

std::string shard_file_name(std::int64_t writer) {
  return fmt::format("shard-{:05}.h5", writer);
}

std::string shard_dataset_name(const LogicalTensor& tensor, StateKind kind, std::int64_t slice, std::int64_t begin) {
  return fmt::format("/{}/{}/{}/{}", name_of(kind), tensor.name, slice, begin);
}

ShardRecord write_shard_file(const std::filesystem::path& path, std::int64_t step, std::int64_t writer,
                             std::span<const StateShard> shards, const std::stop_token& stop) {
  ShardRecord record{.writer = writer, .file = {.name = path.filename().string()}, .tensors = {}, .ranges = {}};
  Hdf5Writer file(path);
  file.write_attribute("/", "format", std::string("baekji.shard.v1"));
  file.write_attribute("/", "step", step);
  file.write_attribute("/", "writer", writer);
  std::vector<float> buffer;
  std::map<std::string, std::int64_t> places;  // tensor name to index in record.tensors
  for (const StateShard& shard : shards) {
    give_up_if_asked(stop, file.path());
    check_shard(shard);
    write_range(file, shard, buffer);
    const auto [it, is_new] = places.emplace(shard.tensor->name, static_cast<std::int64_t>(record.tensors.size()));
    if (is_new) record.tensors.push_back(*shard.tensor);
    record.ranges.push_back({.tensor = it->second, .slice = shard.slice, .begin = shard.begin, .count = shard.count});
  }
  file.close();
  return record;
}

void read_shard_range(const Hdf5File& file, const ShardRead& read) {
  const std::string name = shard_dataset_name(*read.tensor, read.kind, read.range.slice, read.range.begin);
  const Hdf5Handle dataset = file.open_dataset(name);
  const auto read_into = [&](void* values) {
    hdf5_read_range(dataset, H5T_NATIVE_FLOAT, static_cast<std::uint64_t>(read.begin - read.range.begin),
                    static_cast<std::uint64_t>(read.count), values, file.path() + " : " + name);
  };
  if (read.destination.device.is_host()) {
    read_into(read.destination.data);
    return;
  }
  std::vector<float> values(static_cast<std::size_t>(read.count));
  read_into(values.data());
  copy_memory(read.destination, {.data = values.data()}, read.count * static_cast<std::int64_t>(sizeof(float)));
}

}  // namespace baekji
