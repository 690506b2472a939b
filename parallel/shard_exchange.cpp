#include "parallel/shard_exchange.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

namespace baekji {
namespace {

// Slices with one of these share buckets. With zero = 3 the weights of a unit come on their own.
auto shared_key(const BucketKey& key, std::int64_t zero) {
  return std::tuple(key.stage, key.phase, key.tied, zero == 3 ? -key.unit : 0);
}

}  // namespace

ShardExchange::ShardExchange(const Args& args, Kernels& kernels, Arena& arena) : args_(args), kernels_(kernels) {
  make_shards();
  for (const Shard& shard : shards_) part_elements_ = std::max(part_elements_, shard.bucket.part_elements);
  if (args_.zero >= 2)
    buffers_ = arena.allocate("bucket exchange", DType::kInt64, {kBuffers * args_.ranks * part_elements_});
  for (Shard& shard : shards_) bind(shard, arena);
  list_owned();
  for (const Shard& shard : shards_) sharing_.push_back(&shard);
  std::stable_sort(sharing_.begin(), sharing_.end(),
                   [](const Shard* a, const Shard* b) { return a->key.unit < b->key.unit; });
}

void ShardExchange::make_shards() {
  std::vector<std::size_t> order(args_.slices.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto key = [&](std::size_t slice) { return shared_key(args_.keys[slice], args_.zero); };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tuple(key(a), -args_.keys[a].unit) < std::tuple(key(b), -args_.keys[b].unit);
  });
  for (auto first = order.begin(); first != order.end();) {
    const auto end = std::find_if(first, order.end(), [&](std::size_t slice) { return key(slice) != key(*first); });
    std::vector<std::int64_t> elements;
    for (auto slice = first; slice != end; ++slice) elements.push_back(args_.slices[*slice].count);
    for (Bucket& bucket : partition_chunks(elements, args_.ranks)) {
      for (ChunkRange& range : bucket.ranges) range.slice = *(first + static_cast<std::ptrdiff_t>(range.slice));
      const BucketKey& lowest = args_.keys[bucket.ranges.back().slice];
      shards_.push_back({.key = lowest, .bucket = std::move(bucket), .sums = {}, .masters = {}});
    }
    first = end;
  }
}

void ShardExchange::bind(Shard& shard, Arena& arena) {
  const std::int64_t parts = args_.zero >= 2 ? 1 : args_.ranks;
  shard.sums = arena.allocate("gradients (fixed point)", DType::kInt64, {parts * shard.bucket.part_elements});
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
    const Tensor sums = args_.zero >= 2 ? shard.sums : part_of(shard, shard.sums, args_.rank);
    for (std::size_t r = 0; r < shard.bucket.ranges.size(); ++r) {
      const ChunkRange& range = shard.bucket.ranges[r];
      if (!owns(range)) continue;
      ParameterSlice part = slice_of(range);
      part.begin = range.begin;
      part.count = range.count;
      part.weight = args_.zero < 3 ? part.weight.rows(range.begin, range.count) : Tensor();
      part.master = shard.masters[r];
      part.partial = sums.rows(range.offset, range.count);
      for (Tensor& contribution : part.contributions) contribution = contribution.rows(range.begin, range.count);
      owned_.push_back(std::move(part));
    }
  }
  std::sort(owned_.begin(), owned_.end(), [](const ParameterSlice& a, const ParameterSlice& b) {
    return std::tie(a.spec->logical.name, a.slice, a.begin) < std::tie(b.spec->logical.name, b.slice, b.begin);
  });
}

// All ranks' parts of a bucket in the buffers, where `place` such buckets of the type come before it.
Tensor ShardExchange::buffer(const Shard& shard, DType type, std::int64_t place) const {
  const std::int64_t size_bytes = args_.ranks * part_elements_ * size_of(type);
  return {static_cast<std::byte*>(buffers_.data()) + place * size_bytes,
          type,
          {args_.ranks * shard.bucket.part_elements},
          buffers_.device()};
}

Tensor ShardExchange::part_of(const Shard& shard, const Tensor& whole, std::int64_t rank) const {
  return whole.rows(rank * shard.bucket.part_elements, shard.bucket.part_elements);
}

Tensor ShardExchange::place_of(const Shard& shard, const Tensor& whole, const ChunkRange& range) const {
  return part_of(shard, whole, range.owner).rows(range.offset, range.count);
}

void ShardExchange::finish_first() {
  args_.data->finish(departed_.front().ticket);
  departed_.pop_front();
}

void ShardExchange::finish_sums() {
  while (!departed_.empty()) finish_first();
}

// Until a buffer is free, and the bucket's sums of the replica before are there.
void ShardExchange::make_room(const Shard& shard) {
  const auto is_under_way = [&] {
    return std::any_of(departed_.begin(), departed_.end(), [&](const Departure& d) { return d.shard == &shard; });
  };
  while (std::ssize(departed_) >= kBuffers || is_under_way()) finish_first();
}

// What came before is one more addend: with zero = 1 every rank has added its own up, otherwise the owner has all.
void ShardExchange::convert(const Shard& shard, const Tensor& whole, bool first, const Convert& convert) const {
  for (const ChunkRange& range : shard.bucket.ranges) {
    const bool overwrite = first || (args_.zero >= 2 && !owns(range));
    const Tensor place = place_of(shard, whole, range);
    if (convert)
      convert(range, place, overwrite);
    else if (overwrite)
      kernels_.fill_zero(place);
  }
}

void ShardExchange::add_replica(const ReplicaEnd& end, std::int64_t unit, bool first, const Convert& convert) {
  // Weights come through the memory of sums.
  arrive(std::numeric_limits<std::int64_t>::max());
  for (Shard& shard : shards_) {
    const BucketKey& key = shard.key;
    if (key.stage != end.stage || key.phase != end.phase || key.unit < unit || shard.added) continue;
    shard.added = true;
    if (args_.zero < 2) {
      this->convert(shard, shard.sums, first, convert);
      if (end.last) {
        const Tensor mine = part_of(shard, shard.sums, args_.rank);
        departed_.push_back({args_.data->start_reduce_scatter(shard.sums, mine, ReduceOp::kSumInteger), &shard});
      }
      continue;
    }
    make_room(shard);
    const Tensor all = buffer(shard, DType::kInt64, next_buffer_);
    next_buffer_ = (next_buffer_ + 1) % kBuffers;
    if (!first) kernels_.copy({.from = shard.sums, .to = part_of(shard, all, args_.rank)});
    this->convert(shard, all, first, convert);
    departed_.push_back({args_.data->start_reduce_scatter(all, shard.sums, ReduceOp::kSumInteger), &shard});
  }
}

void ShardExchange::end_replica(const ReplicaEnd& end) {
  for (Shard& shard : shards_) {
    if (shard.key.stage == end.stage && shard.key.phase == end.phase) shard.added = false;
  }
}

// Weights come through memory that is free until the next gradients are converted: a bucket's own sums where they are
// whole, otherwise the buffers in turn.
std::size_t ShardExchange::arrivals_at_once() const {
  if (args_.zero < 2) return sharing_.size();
  return static_cast<std::size_t>(kBuffers * size_of(DType::kInt64) / size_of(args_.types.compute));
}

Tensor ShardExchange::staging(const Shard& shard, std::size_t turn) const {
  if (args_.zero >= 2) return buffer(shard, args_.types.compute, static_cast<std::int64_t>(turn % arrivals_at_once()));
  return {shard.sums.data(), args_.types.compute, {shard.sums.size()}, shard.sums.device()};
}

void ShardExchange::begin_sharing(std::size_t turn) {
  const Shard& shard = *sharing_[turn];
  const Tensor all = staging(shard, turn);
  for (const ChunkRange& range : shard.bucket.ranges) {
    if (!owns(range)) continue;
    kernels_.copy({.from = slice_of(range).weight.rows(range.begin, range.count), .to = place_of(shard, all, range)});
  }
  arriving_.push_back(
      {.ticket = args_.data->start_all_gather(part_of(shard, all, args_.rank), all), .shard = &shard, .whole = all});
}

void ShardExchange::share_weights() {
  finish_sums();
  arrive(std::numeric_limits<std::int64_t>::max());
  for (shared_ = 0; shared_ < std::min(arrivals_at_once(), sharing_.size()); ++shared_) begin_sharing(shared_);
}

// Ends the sharing of every bucket with weights of units up to this one.
void ShardExchange::arrive(std::int64_t unit) {
  while (!arriving_.empty() && arriving_.front().shard->key.unit <= unit) {
    const Arrival arrival = arriving_.front();
    arriving_.pop_front();
    args_.data->finish(arrival.ticket);
    for (const ChunkRange& range : arrival.shard->bucket.ranges) {
      if (owns(range)) continue;
      kernels_.copy({.from = place_of(*arrival.shard, arrival.whole, range),
                     .to = slice_of(range).weight.rows(range.begin, range.count)});
    }
    if (shared_ < sharing_.size()) begin_sharing(shared_++);
  }
}

void ShardExchange::bring(std::int64_t unit) {
  finish_sums();  // whose buffers are used here
  for (const Shard& shard : shards_) {
    if (shard.key.unit != unit) continue;
    const Tensor all = buffer(shard, args_.types.compute, 0);
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

void ShardExchange::gather(std::int64_t unit) {
  if (args_.zero < 3) arrive(unit);
  if (args_.zero == 3 && gathered_ != unit) bring(unit);
}

}  // namespace baekji
