#include "parallel/parameter_store.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <tuple>

#include "parallel/shard_exchange.h"

namespace baekji {
namespace {

std::int64_t group_slice_rows(const ParameterGroup& group) {
  std::int64_t rows = 0;
  for (const ParameterSpec& member : group.members) rows += member.logical.slice_rows();
  return rows;
}

bool is_split(const ParameterGroup& group) {
  return group.members.front().logical.split != Split::kNone;
}

void check_group(const ParameterGroup& group) {
  const LogicalTensor& first = group.members.front().logical;
  for (const ParameterSpec& member : group.members) {
    const LogicalTensor& t = member.logical;
    const bool fits = t.slice_columns() == first.slice_columns() && t.slices == first.slices && t.split == first.split;
    if (!fits || (group.members.size() > 1 && t.split == Split::kColumns)) {
      throw Error("parameters of one group must agree in columns and slices, and not be split by columns").at(t.name);
    }
  }
}

// The flat range of one member inside its group's slice.
Tensor flat_part(const Tensor& slice, std::int64_t begin, std::int64_t count) {
  return slice.view({slice.size()}).rows(begin, count);
}

// The slice of a group's weight, as a description without memory.
struct SliceShape {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  bool vector = false;
  std::int64_t aligned_bytes(DType type) const {
    return round_up(rows * columns * size_of(type), Arena::kAlignmentBytes);
  }
  Tensor at(const MemoryPlace& place, DType type) const {
    return vector ? Tensor(place.data, type, {columns}, place.device)
                  : Tensor(place.data, type, {rows, columns}, place.device);
  }
  Tensor allocate(Arena& arena, const char* category, DType type) const {
    return vector ? arena.allocate(category, type, {columns}) : arena.allocate(category, type, {rows, columns});
  }
};

SliceShape slice_shape(const ParameterGroup& group) {
  const LogicalTensor& first = group.members.front().logical;
  return {.rows = group_slice_rows(group), .columns = first.slice_columns(), .vector = first.shape.size() == 1};
}

std::vector<HeldGroup> everything(const std::vector<ParameterGroup>& groups) {
  std::vector<HeldGroup> held;
  for (GroupId id = 0; id < groups.size(); ++id) held.push_back({.id = id, .contributions = groups[id].contributions});
  return held;
}

}  // namespace

ParameterStore::ParameterStore(Args args, Kernels& kernels, Arena& arena)
    : args_(std::move(args)), groups_(std::move(args_.groups)), storage_(groups_.size()), kernels_(kernels) {
  if (args_.held.empty()) args_.held = everything(groups_);
  std::int64_t stages = 1;
  for (const HeldGroup& held : args_.held) {
    check_group(groups_[held.id]);
    storage_[held.id].held = held;
    stages = std::max(stages, held.stage + 1);
  }
  summed_.resize(index(stages));
  added_.resize(groups_.size());
  if (shards_weights()) bind_unit(arena);
  for (const HeldGroup& held : args_.held) bind_group(groups_[held.id], storage_[held.id], arena);
  list_slices();
  owned_ = slices_;
  if (args_.training) unusable_ = arena.allocate("gradients (fixed point)", DType::kInt32, {std::ssize(slices_)});
  if (sharded()) bind_exchange(arena);
}

ParameterStore::~ParameterStore() = default;

void ParameterStore::bind_exchange(Arena& arena) {
  std::vector<BucketKey> keys;
  for (const ParameterSlice& slice : slices_) {
    const ParameterGroup& group = groups_[slice.group];
    keys.push_back(
        {.stage = storage_[slice.group].held.stage, .phase = group.phase, .tied = slice.tied, .unit = group.unit});
  }
  exchange_ = std::make_unique<ShardExchange>(ShardExchange::Args{.slices = slices_,
                                                                  .keys = std::move(keys),
                                                                  .zero = args_.zero,
                                                                  .ranks = args_.data_ranks,
                                                                  .rank = args_.data_rank,
                                                                  .data = args_.data,
                                                                  .types = args_.types},
                                              kernels_, arena);
  owned_ = exchange_->owned();
}

// Memory for the weights of the largest unit: all units use it in turn.
void ParameterStore::bind_unit(Arena& arena) {
  std::map<std::int64_t, std::int64_t> bytes;
  std::int64_t largest = 0;
  for (const HeldGroup& held : args_.held) {
    const ParameterGroup& group = groups_[held.id];
    std::int64_t& unit_bytes = bytes[group.unit];
    unit_bytes += (is_split(group) ? args_.slice_count : 1) * slice_shape(group).aligned_bytes(args_.types.compute);
    largest = std::max(largest, unit_bytes);
  }
  unit_ = arena.allocate("weights (of one unit)", DType::kInt32, {largest / size_of(DType::kInt32)});
}

Tensor ParameterStore::bind_weight(const ParameterGroup& group, Arena& arena) {
  const SliceShape shape = slice_shape(group);
  if (!shards_weights()) return shape.allocate(arena, "weights", args_.types.compute);
  std::int64_t& taken_bytes = unit_bytes_[group.unit];
  const Tensor weight = shape.at(
      {.data = static_cast<std::byte*>(unit_.data()) + taken_bytes, .device = unit_.device()}, args_.types.compute);
  taken_bytes += shape.aligned_bytes(args_.types.compute);
  return weight;
}

void ParameterStore::bind_group(const ParameterGroup& group, Storage& storage, Arena& arena) {
  const SliceShape shape = slice_shape(group);
  const std::int64_t slices = is_split(group) ? args_.slice_count : 1;
  const bool shared = args_.types.compute == args_.types.accumulator;  // the weight is its own master
  // Elsewhere the optimizer converts straight from the sums: the same integers.
  const bool summed = args_.replicas > 1 || (args_.tensor_ranks > 1 && !is_split(group)) || storage.held.tied;
  storage.gradient.resize(args_.training ? index(storage.held.contributions) : 0);
  for (std::int64_t s = 0; s < slices; ++s) {
    storage.weight.push_back(bind_weight(group, arena));
    if (!args_.training) continue;
    if (!sharded()) {
      storage.master.push_back(shared ? storage.weight.back()
                                      : shape.allocate(arena, "master weights", args_.types.accumulator));
    }
    for (auto& contribution : storage.gradient)
      contribution.push_back(shape.allocate(arena, "gradient sums", args_.types.accumulator));
    if (summed && !sharded())
      storage.partial.push_back(shape.allocate(arena, "gradients (fixed point)", DType::kInt64));
  }
}

void ParameterStore::list_slices() {
  for (const HeldGroup& held : args_.held) {
    const Storage& storage = storage_[held.id];
    const ParameterGroup& group = groups_[held.id];
    for (std::size_t s = 0; s < storage.weight.size(); ++s) {
      std::int64_t begin = 0;
      for (const ParameterSpec& member : group.members) {
        const std::int64_t count = member.logical.slice_elements();
        ParameterSlice slice{.spec = &member,
                             .group = held.id,
                             .slice = is_split(group) ? args_.first_slice + static_cast<std::int64_t>(s) : 0,
                             .count = count,
                             .tied = held.tied,
                             .weight = flat_part(storage.weight[s], begin, count)};
        if (!storage.master.empty()) slice.master = flat_part(storage.master[s], begin, count);
        for (const auto& contribution : storage.gradient)
          slice.contributions.push_back(flat_part(contribution[s], begin, count));
        if (!storage.partial.empty()) slice.partial = flat_part(storage.partial[s], begin, count);
        slices_.push_back(std::move(slice));
        begin += count;
      }
    }
  }
  std::sort(slices_.begin(), slices_.end(), [](const ParameterSlice& a, const ParameterSlice& b) {
    return std::tie(a.spec->logical.name, a.slice) < std::tie(b.spec->logical.name, b.slice);
  });
}

void ParameterStore::gather(std::int64_t unit) {
  if (exchange_) exchange_->gather(unit);
}

void ParameterStore::begin_step(std::int64_t global_tokens) {
  // ceil(log2 N) - 50 (design, section 4): 2^12 times the largest mean gradient still fits beside 50 fractional bits.
  unit_exponent_ = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(global_tokens - 1))) - 50;
  std::fill(summed_.begin(), summed_.end(), std::array<bool, kGradientPhases.size()>{});
  kernels_.fill_zero(unusable_);
}

double ParameterStore::contribution_limit(const ParameterSlice& slice) const {
  return 0x1p62 / static_cast<double>(args_.replicas * groups_[slice.group].contributions);
}

void ParameterStore::begin_replica(std::int64_t stage, GradientPhase phase) {
  for (const HeldGroup& held : args_.held) {
    if (held.stage != stage || groups_[held.id].phase != phase) continue;
    for (const auto& contribution : storage_[held.id].gradient) {
      for (const Tensor& gradient : contribution) kernels_.fill_zero(gradient);
    }
  }
}

// sums [+]= the contributions of a range of a slice.
void ParameterStore::add_to_sums(const ChunkRange& range, const Tensor& sums, bool overwrite) {
  const ParameterSlice& slice = slices_[range.slice];
  for (const Tensor& contribution : slice.contributions) {
    kernels_.fixed_point_accumulate({.gradient = contribution.rows(range.begin, range.count),
                                     .partial = sums,
                                     .unusable = unusable_.rows(static_cast<std::int64_t>(range.slice), 1),
                                     .unit_exponent = unit_exponent_,
                                     .limit = contribution_limit(slice),
                                     .overwrite = overwrite});
    overwrite = false;
  }
}

// Where every rank keeps all sums. Nothing is added up over data ranks before the last replica of the step.
void ParameterStore::add_whole_sums(const ReplicaEnd& end, std::int64_t unit, bool first) {
  for (const HeldGroup& held : args_.held) {
    const ParameterGroup& group = groups_[held.id];
    if (held.stage != end.stage || group.phase != end.phase || group.unit < unit || added_[held.id]) continue;
    added_[held.id] = true;
    for (std::size_t i = 0; i < slices_.size() && !end.absent; ++i) {
      const ParameterSlice& slice = slices_[i];
      if (slice.group == held.id && slice.partial.defined())
        add_to_sums({.slice = i, .count = slice.count}, slice.partial, first);
    }
    if (!end.last || args_.data == nullptr) continue;
    for (const Tensor& partial : storage_[held.id].partial)
      under_way_.push_back(args_.data->start_all_reduce(partial, ReduceOp::kSumInteger));
  }
}

void ParameterStore::finish_whole_sums() {
  while (!under_way_.empty()) {
    args_.data->finish(under_way_.front());
    under_way_.pop_front();
  }
}

void ParameterStore::add_replica(const ReplicaEnd& end, std::int64_t unit) {
  const bool first = !summed_[index(end.stage)][static_cast<std::size_t>(end.phase)];
  if (!exchange_) return add_whole_sums(end, unit, first);
  ShardExchange::Convert convert;
  if (!end.absent) {
    convert = [this](const ChunkRange& range, const Tensor& sums, bool overwrite) {
      add_to_sums(range, sums, overwrite);
    };
  }
  exchange_->add_replica(end, unit, first, convert);
}

void ParameterStore::unit_summed(std::int64_t unit, GradientPhase phase) {
  if (ending(phase)) add_replica(*ending(phase), unit);
}

void ParameterStore::end_replica(const ReplicaEnd& end) {
  add_replica(end, std::numeric_limits<std::int64_t>::min());
  ending(end.phase).reset();
  if (exchange_) exchange_->end_replica(end);
  for (const HeldGroup& held : args_.held) {
    if (held.stage == end.stage && groups_[held.id].phase == end.phase) added_[held.id] = false;
  }
  summed_[index(end.stage)][static_cast<std::size_t>(end.phase)] = true;
}

void ParameterStore::reduce() {
  if (exchange_) {
    exchange_->finish_sums();
    for (const ParameterSlice& part : owned_) {
      const bool held_by_all = part.spec->logical.split == Split::kNone;
      if (held_by_all && args_.tensor != nullptr) args_.tensor->all_reduce(part.partial, ReduceOp::kSumInteger);
      if (part.tied && args_.tied != nullptr) args_.tied->all_reduce(part.partial, ReduceOp::kSumInteger);
    }
    return;
  }
  finish_whole_sums();
  for (const HeldGroup& held : args_.held) {
    for (const Tensor& partial : storage_[held.id].partial) {
      if (!is_split(groups_[held.id]) && args_.tensor != nullptr)
        args_.tensor->all_reduce(partial, ReduceOp::kSumInteger);
      if (held.tied && args_.tied != nullptr) args_.tied->all_reduce(partial, ReduceOp::kSumInteger);
    }
  }
}

std::string ParameterStore::invalid_parameter() const {
  std::vector<std::int32_t> unusable(slices_.size());
  kernels_.download({.from = unusable_, .to = unusable.data()});
  const auto first = std::find_if(unusable.begin(), unusable.end(), [](std::int32_t flag) { return flag != 0; });
  if (first == unusable.end()) return {};
  return slices_[static_cast<std::size_t>(first - unusable.begin())].spec->logical.name;
}

void ParameterStore::weights_updated() {
  if (exchange_ && !shards_weights()) exchange_->share_weights();
  if (exchange_ && shards_weights()) exchange_->release();
  kernels_.weights_changed();
}

void ParameterStore::publish_weights() {
  for (const ParameterSlice& part : owned_) {
    if (part.weight.defined() && part.weight.data() != part.master.data())
      kernels_.cast({.in = part.master, .out = part.weight});
  }
  weights_updated();
}

}  // namespace baekji
