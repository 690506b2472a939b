#include "parallel/shard_exchange.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace baekji {

ShardExchange::ShardExchange(const Args& args, Kernels& kernels, Arena& arena) : args_(args), kernels_(kernels) {
  make_shards();
  std::int64_t largest = 0;
  for (const Shard& shard : shards_) largest = std::max(largest, shard.bucket.part_elements);
  buffer_ = arena.allocate("bucket exchange", DType::kInt64, {args_.ranks * largest});
  for (Shard& shard : shards_) bind(shard, arena);
  list_owned();
}

void ShardExchange::make_shards() {
  std::map<BucketKey, std::vector<std::size_t>> slices;
  for (std::size_t i = 0; i < args_.slices.size(); ++i) slices[args_.keys[i]].push_back(i);
  for (const auto& [key, indices] : slices) {
    std::vector<std::int64_t> elements;
    for (const std::size_t i : indices) elements.push_back(args_.slices[i].count);
    for (Bucket& bucket : partition_chunks(elements, args_.ranks)) {
      for (ChunkRange& range : bucket.ranges) range.slice = indices[range.slice];
      shards_.push_back({.key = key, .bucket = std::move(bucket), .sums = {}, .masters = {}});
    }
  }
}

void ShardExchange::bind(Shard& shard, Arena& arena) {
  if (args_.zero >= 2)
    shard.sums = arena.allocate("gradients (fixed point)", DType::kInt64, {shard.bucket.part_elements});
  const bool weight_is_master = args_.types.compute == args_.types.accumulator && args_.zero < 3;
  for (const ChunkRange& range : shard.bucket.ranges) {
    Tensor master;
    if (owns(range) && weight_is_master) master = slice_of(range).weight.rows(range.begin, range.count);
    if (owns(range) && !weight_is_master)
      master = arena.allocate("master weights", args_.types.accumulator, {range.count});
    shard.masters.push_back(master);
  }
}

void ShardExchange::list_owned() {
  for (const Shard& shard : shards_) {
    for (std::size_t r = 0; r < shard.bucket.ranges.size(); ++r) {
      const ChunkRange& range = shard.bucket.ranges[r];
      if (!owns(range)) continue;
      ParameterSlice part = slice_of(range);
      part.begin = range.begin;
      part.count = range.count;
      part.weight = args_.zero < 3 ? part.weight.rows(range.begin, range.count) : Tensor();
      part.master = shard.masters[r];
      part.partial =
          args_.zero >= 2 ? shard.sums.rows(range.offset, range.count) : part.partial.rows(range.begin, range.count);
      for (Tensor& contribution : part.contributions) contribution = contribution.rows(range.begin, range.count);
      owned_.push_back(std::move(part));
    }
  }
  std::sort(owned_.begin(), owned_.end(), [](const ParameterSlice& a, const ParameterSlice& b) {
    return std::tie(a.spec->logical.name, a.slice, a.begin) < std::tie(b.spec->logical.name, b.slice, b.begin);
  });
}

// The buffer as all ranks' parts of a bucket.
Tensor ShardExchange::whole(const Shard& shard, DType type) const {
  return {buffer_.data(), type, {args_.ranks * shard.bucket.part_elements}, buffer_.device()};
}

Tensor ShardExchange::part_of(const Shard& shard, const Tensor& whole, std::int64_t rank) const {
  return whole.rows(rank * shard.bucket.part_elements, shard.bucket.part_elements);
}

Tensor ShardExchange::place_of(const Shard& shard, const Tensor& whole, const ChunkRange& range) const {
  return part_of(shard, whole, range.owner).rows(range.offset, range.count);
}

void ShardExchange::add_replica(std::int64_t stage, GradientPhase phase, bool first, const Convert& convert) {
  for (const Shard& shard : shards_) {
    if (shard.key.stage != stage || shard.key.phase != phase) continue;
    const Tensor all = whole(shard, DType::kInt64);
    // What came before is one more addend of its owner.
    if (!first) kernels_.copy({.from = shard.sums, .to = part_of(shard, all, args_.rank)});
    for (const ChunkRange& range : shard.bucket.ranges) {
      const bool overwrite = first || !owns(range);
      const Tensor place = place_of(shard, all, range);
      if (convert)
        convert(range, place, overwrite);
      else if (overwrite)
        kernels_.fill_zero(place);
    }
    args_.data->reduce_scatter(all, shard.sums, ReduceOp::kSumInteger);
  }
}

void ShardExchange::reduce() {
  for (const Shard& shard : shards_) {
    const Tensor all = whole(shard, DType::kInt64);
    for (const ChunkRange& range : shard.bucket.ranges) {
      kernels_.copy(
          {.from = slice_of(range).partial.rows(range.begin, range.count), .to = place_of(shard, all, range)});
    }
    args_.data->reduce_scatter(all, part_of(shard, all, args_.rank), ReduceOp::kSumInteger);
    for (const ChunkRange& range : shard.bucket.ranges) {
      if (!owns(range)) continue;
      kernels_.copy(
          {.from = place_of(shard, all, range), .to = slice_of(range).partial.rows(range.begin, range.count)});
    }
  }
}

void ShardExchange::share_weights() {
  for (const Shard& shard : shards_) {
    const Tensor all = whole(shard, args_.types.compute);
    const auto weights = [&](const ChunkRange& range) { return slice_of(range).weight.rows(range.begin, range.count); };
    for (const ChunkRange& range : shard.bucket.ranges) {
      if (owns(range)) kernels_.copy({.from = weights(range), .to = place_of(shard, all, range)});
    }
    args_.data->all_gather(part_of(shard, all, args_.rank), all);
    for (const ChunkRange& range : shard.bucket.ranges) {
      if (!owns(range)) kernels_.copy({.from = place_of(shard, all, range), .to = weights(range)});
    }
  }
}

void ShardExchange::gather(std::int64_t unit) {
  if (gathered_ == unit) return;
  for (const Shard& shard : shards_) {
    if (shard.key.unit != unit) continue;
    const Tensor all = whole(shard, args_.types.compute);
    for (std::size_t r = 0; r < shard.bucket.ranges.size(); ++r) {
      const ChunkRange& range = shard.bucket.ranges[r];
      if (owns(range)) kernels_.cast({.in = shard.masters[r], .out = place_of(shard, all, range)});
    }
    args_.data->all_gather(part_of(shard, all, args_.rank), all);
    for (const ChunkRange& range : shard.bucket.ranges) {
      kernels_.copy({.from = place_of(shard, all, range), .to = slice_of(range).weight.rows(range.begin, range.count)});
    }
  }
  gathered_ = unit;
  kernels_.weights_changed();
}

}  // namespace baekji
