#include "parallel/parameter_store.h"

#include <algorithm>
#include <bit>

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

}  // namespace

ParameterStore::ParameterStore(Args args, Kernels& kernels, Arena& arena)
    : args_(std::move(args)), groups_(std::move(args_.groups)), storage_(groups_.size()), kernels_(kernels) {
  for (GroupId id = 0; id < groups_.size(); ++id) {
    check_group(groups_[id]);
    bind_group(groups_[id], storage_[id], arena);
  }
  list_slices();
}

void ParameterStore::bind_group(const ParameterGroup& group, Storage& storage, Arena& arena) {
  const std::int64_t rows = group_slice_rows(group);
  const std::int64_t columns = group.members.front().logical.slice_columns();
  const bool vector = group.members.front().logical.shape.size() == 1;
  const auto allocate = [&](const char* category, DType type) {
    return vector ? arena.allocate(category, type, {columns}) : arena.allocate(category, type, {rows, columns});
  };
  const std::int64_t slices = is_split(group) ? args_.slice_count : 1;
  const bool shared = args_.types.compute == args_.types.accumulator;  // the weight is its own master
  // Elsewhere the optimizer converts straight from the sums: the same integers.
  const bool summed = args_.replicas > 1 || (args_.tensor_ranks > 1 && !is_split(group));
  storage.gradient.resize(args_.training ? index(group.contributions) : 0);
  for (std::int64_t s = 0; s < slices; ++s) {
    storage.weight.push_back(allocate("weights", args_.types.compute));
    if (!args_.training) continue;
    storage.master.push_back(shared ? storage.weight.back() : allocate("master weights", args_.types.accumulator));
    for (auto& contribution : storage.gradient)
      contribution.push_back(allocate("gradient sums", args_.types.accumulator));
    if (summed) storage.partial.push_back(allocate("gradients (fixed point)", DType::kInt64));
  }
}

void ParameterStore::list_slices() {
  for (GroupId id = 0; id < groups_.size(); ++id) {
    const Storage& storage = storage_[id];
    for (std::size_t s = 0; s < storage.weight.size(); ++s) {
      std::int64_t begin = 0;
      for (const ParameterSpec& member : groups_[id].members) {
        const std::int64_t count = member.logical.slice_elements();
        ParameterSlice slice{.spec = &member,
                             .slice = is_split(groups_[id]) ? args_.first_slice + static_cast<std::int64_t>(s) : 0,
                             .weight = flat_part(storage.weight[s], begin, count)};
        if (args_.training) slice.master = flat_part(storage.master[s], begin, count);
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

void ParameterStore::begin_step(std::int64_t global_tokens, std::int64_t replicas) {
  // ceil(log2 N) - 50 (design, section 4): 2^12 times the largest mean gradient still fits beside 50 fractional bits.
  unit_exponent_ = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(global_tokens - 1))) - 50;
  total_replicas_ = replicas;
  first_replica_ = true;
  invalid_.clear();
}

double ParameterStore::contribution_limit(const ParameterSlice& slice) const {
  return 0x1p62 / static_cast<double>(total_replicas_ * static_cast<std::int64_t>(slice.contributions.size()));
}

void ParameterStore::begin_replica() {
  for (const Storage& storage : storage_) {
    for (const auto& contribution : storage.gradient) {
      for (const Tensor& gradient : contribution) kernels_.fill_zero(gradient);
    }
  }
}

void ParameterStore::end_replica() {
  for (const ParameterSlice& slice : slices_) {
    if (!slice.partial.defined()) continue;
    bool overwrite = first_replica_;
    for (const Tensor& contribution : slice.contributions) {
      const bool valid = kernels_.fixed_point_accumulate({.gradient = contribution,
                                                          .partial = slice.partial,
                                                          .unit_exponent = unit_exponent_,
                                                          .limit = contribution_limit(slice),
                                                          .overwrite = overwrite});
      if (!valid && (invalid_.empty() || slice.spec->logical.name < invalid_)) invalid_ = slice.spec->logical.name;
      overwrite = false;
    }
  }
  first_replica_ = false;
}

void ParameterStore::reduce(Communicator& data, Communicator& tensor) {
  for (GroupId id = 0; id < groups_.size(); ++id) {
    for (const Tensor& partial : storage_[id].partial) {
      data.all_reduce(partial, ReduceOp::kSumInteger);
      if (!is_split(groups_[id])) tensor.all_reduce(partial, ReduceOp::kSumInteger);
    }
  }
}

void ParameterStore::publish_weights() {
  for (const ParameterSlice& slice : slices_) {
    if (slice.weight.data() != slice.master.data()) kernels_.cast({.in = slice.master, .out = slice.weight});
  }
  kernels_.weights_changed();
}

}  // namespace baekji
