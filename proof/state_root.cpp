#include "proof/state_root.h"

#include <algorithm>
#include <bit>
#include <tuple>

#include "core/error.h"
#include "core/state_values.h"

namespace baekji {
namespace {

// Elements are hashed as they stand in memory.
static_assert(std::endian::native == std::endian::little, "the state root needs little-endian fp32 in memory");

constexpr std::string_view kLeafTag{"baekji.state.v1\0", 16};
constexpr std::uint8_t kFloat32Code = 0;

std::uint64_t as_u64(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

std::string describe(const StateLeaf& leaf) {
  return fmt::format("{} slice {} chunk {} {}", leaf.name, leaf.slice, leaf.chunk, name_of(leaf.kind));
}

void check_shard(const StateShard& shard) {
  const LogicalTensor& tensor = *shard.tensor;
  const std::int64_t size = tensor.slice_elements();
  const std::int64_t end = shard.begin + shard.count;
  const bool inside =
      shard.slice >= 0 && shard.slice < tensor.slices && shard.begin >= 0 && shard.count > 0 && end <= size;
  if (!inside || shard.begin % kChunkElements != 0 || (end % kChunkElements != 0 && end != size)) {
    throw Error("a part of the state does not consist of whole chunks of a slice")
        .values(fmt::format("{} slices of {} elements in chunks of {}", tensor.slices, size, kChunkElements),
                fmt::format("slice {}, elements {} to {}", shard.slice, shard.begin, end))
        .at(tensor.name);
  }
  for (const StateKind kind : kStateKinds) {
    if (shard.values[static_cast<std::size_t>(kind)] == nullptr) {
      throw Error("a part of the state lacks one of its arrays")
          .values("master, moment1, moment2", fmt::format("no {}", name_of(kind)))
          .at(tensor.name);
    }
  }
}

Digest leaf_digest(const StateShard& shard, StateKind kind, std::int64_t chunk) {
  std::vector<float> buffer;
  static constexpr std::byte kLeafPrefix{0x00};
  const LogicalTensor& tensor = *shard.tensor;
  const std::span<const float> values = read_values({.shard = shard,
                                                     .kind = kind,
                                                     .begin = chunk * kChunkElements - shard.begin,
                                                     .count = chunk_elements(tensor, chunk)},
                                                    buffer);
  return Sha256()
      .add(std::span(&kLeafPrefix, 1))
      .add(state_leaf_header(tensor, kind, shard.slice, chunk))
      .add(std::as_bytes(values))
      .finish();
}

// The leaf that must follow `previous` (nullptr: the first of all) for nothing to be missing.
bool follows(const StateLeaf* previous, const StateLeaf& leaf) {
  const bool first_of_tensor = leaf.slice == 0 && leaf.chunk == 0 && leaf.kind == StateKind::kMaster;
  if (previous == nullptr) return first_of_tensor;
  if (previous->name == leaf.name) {
    if (previous->slices != leaf.slices || previous->chunks != leaf.chunks) return false;
    const auto ordinal = [](const StateLeaf& l) {
      return (l.slice * l.chunks + l.chunk) * 3 + static_cast<std::int64_t>(l.kind);
    };
    return ordinal(leaf) == ordinal(*previous) + 1;
  }
  const bool last_of_tensor = previous->slice == previous->slices - 1 && previous->chunk == previous->chunks - 1 &&
                              previous->kind == StateKind::kMoment2;
  return first_of_tensor && last_of_tensor;
}

void check_complete(const std::vector<StateLeaf>& sorted) {
  const auto key = [](const StateLeaf& l) { return std::tie(l.name, l.slice, l.chunk, l.kind); };
  for (std::size_t i = 0; i <= sorted.size(); ++i) {
    const StateLeaf* const previous = i == 0 ? nullptr : &sorted[i - 1];
    if (i == sorted.size()) {
      // A sentinel that may follow only the last leaf of a tensor.
      StateLeaf sentinel;
      sentinel.name = previous->name + '\0';
      if (!follows(previous, sentinel))
        throw Error("the state is incomplete").values("all chunks", "nothing after " + describe(*previous));
      return;
    }
    if (previous != nullptr && key(*previous) == key(sorted[i]))
      throw Error("a chunk of the state came twice").at(describe(sorted[i]));
    if (!follows(previous, sorted[i])) {
      throw Error("a chunk of the state is missing")
          .values("every slice and chunk of every tensor",
                  fmt::format("{}, then {}", previous == nullptr ? "the beginning" : describe(*previous),
                              describe(sorted[i])));
    }
  }
}

}  // namespace

std::int64_t chunk_elements(const LogicalTensor& tensor, std::int64_t chunk) {
  return std::min(kChunkElements, tensor.slice_elements() - chunk * kChunkElements);
}

std::string state_leaf_header(const LogicalTensor& tensor, StateKind kind, std::int64_t slice, std::int64_t chunk) {
  std::string header(kLeafTag);
  append_little_endian(header, narrow<std::uint32_t>(tensor.name.size()));
  header += tensor.name;
  append_little_endian(header, static_cast<std::uint8_t>(kind));
  append_little_endian(header, kFloat32Code);
  append_little_endian(header, static_cast<std::uint8_t>(tensor.split));
  append_little_endian(header, narrow<std::uint8_t>(tensor.shape.size()));
  for (const std::int64_t extent : tensor.shape) append_little_endian(header, as_u64(extent));
  append_little_endian(header, as_u64(tensor.padded_rows == 0 ? tensor.rows() : tensor.padded_rows));
  append_little_endian(header, as_u64(tensor.slices));
  append_little_endian(header, as_u64(slice));
  append_little_endian(header, as_u64(chunk));
  append_little_endian(header, as_u64(chunk_elements(tensor, chunk)));
  return header;
}

std::vector<StateLeaf> state_leaves(std::span<const StateShard> shards, ThreadPool& pool) {
  std::vector<StateLeaf> leaves;
  std::vector<const StateShard*> owners;
  for (const StateShard& shard : shards) {
    check_shard(shard);
    const std::int64_t last = (shard.begin + shard.count - 1) / kChunkElements;
    for (std::int64_t chunk = shard.begin / kChunkElements; chunk <= last; ++chunk) {
      for (const StateKind kind : kStateKinds) {
        leaves.push_back({.name = shard.tensor->name,
                          .slice = shard.slice,
                          .chunk = chunk,
                          .kind = kind,
                          .digest = {},
                          .slices = shard.tensor->slices,
                          .chunks = shard.tensor->chunks_per_slice()});
        owners.push_back(&shard);
      }
    }
  }
  pool.run(static_cast<std::int64_t>(leaves.size()), [&](std::int64_t i) {
    StateLeaf& leaf = leaves[static_cast<std::size_t>(i)];
    leaf.digest = leaf_digest(*owners[static_cast<std::size_t>(i)], leaf.kind, leaf.chunk);
  });
  return leaves;
}

Digest state_root(std::vector<StateLeaf> leaves) {
  if (leaves.empty()) throw Error("a state root needs a state").values("at least one tensor", "none");
  std::sort(leaves.begin(), leaves.end(), [](const StateLeaf& a, const StateLeaf& b) {
    return std::tie(a.name, a.slice, a.chunk, a.kind) < std::tie(b.name, b.slice, b.chunk, b.kind);
  });
  check_complete(leaves);
  MerkleBuilder builder;
  for (const StateLeaf& leaf : leaves) builder.add(leaf.digest);
  return builder.root();
}

Digest state_root(std::span<const StateShard> shards, ThreadPool& pool) {
  return state_root(state_leaves(shards, pool));
}

}  // namespace baekji
