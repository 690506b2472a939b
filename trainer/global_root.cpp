#include "trainer/global_root.h"

#include <cstring>
#include <map>

#include "parallel/chunk_index.h"

namespace baekji {
namespace {

constexpr std::size_t kWords = sizeof(Digest) / sizeof(std::int64_t);
// One word more than the digest counts the ranks that answer for a leaf.
constexpr std::size_t kRow = kWords + 1;

std::map<std::string, const LogicalTensor*> tensors_of(const ParameterStore& store) {
  std::map<std::string, const LogicalTensor*> tensors;
  for (GroupId id = 0; id < store.group_count(); ++id) {
    for (const ParameterSpec& member : store.group(id).members) tensors[member.logical.name] = &member.logical;
  }
  return tensors;
}

std::vector<StateLeaf> all_leaves(const ParameterStore& store) {
  const ChunkIndex index(store);
  std::vector<StateLeaf> leaves(static_cast<std::size_t>(index.chunks()) * kStateKinds.size());
  for (GroupId id = 0; id < store.group_count(); ++id) {
    for (const ParameterSpec& member : store.group(id).members) {
      const LogicalTensor& t = member.logical;
      for (std::int64_t slice = 0; slice < t.slices; ++slice) {
        for (std::int64_t chunk = 0; chunk < t.chunks_per_slice(); ++chunk) {
          const auto at = static_cast<std::size_t>(index.chunk(t, slice, chunk * kChunkElements)) * kStateKinds.size();
          for (const StateKind kind : kStateKinds) {
            leaves[at + static_cast<std::size_t>(kind)] = {.name = t.name,
                                                           .slice = slice,
                                                           .chunk = chunk,
                                                           .kind = kind,
                                                           .slices = t.slices,
                                                           .chunks = t.chunks_per_slice()};
          }
        }
      }
    }
  }
  return leaves;
}

}  // namespace

Digest global_state_root(std::span<const StateShard> owned, const ParameterStore& store, Communicator& world,
                         ThreadPool& pool) {
  return global_state_root(state_leaves(owned, pool), store, world);
}

Digest global_state_root(std::span<const StateLeaf> hashed, const ParameterStore& store, Communicator& world) {
  const ChunkIndex index(store);
  std::vector<StateLeaf> leaves = all_leaves(store);
  // Each leaf comes from one rank, and is zero on the others: an integer sum brings it to all.
  std::vector<std::int64_t> words(leaves.size() * kRow, 0);
  const std::map<std::string, const LogicalTensor*> tensors = tensors_of(store);
  for (const StateLeaf& leaf : hashed) {
    const auto chunk =
        static_cast<std::size_t>(index.chunk(*tensors.at(leaf.name), leaf.slice, leaf.chunk * kChunkElements));
    std::int64_t* row = words.data() + (chunk * kStateKinds.size() + static_cast<std::size_t>(leaf.kind)) * kRow;
    std::memcpy(row, leaf.digest.data(), sizeof(Digest));
    row[kWords] = 1;
  }
  world.all_reduce(Tensor(words.data(), DType::kInt64, {static_cast<std::int64_t>(words.size())}),
                   ReduceOp::kSumInteger);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    StateLeaf& leaf = leaves[i];
    require_equal(std::int64_t{1}, words[i * kRow + kWords], "one rank must answer for each chunk of the state",
                  fmt::format("{} slice {} chunk {} {}", leaf.name, leaf.slice, leaf.chunk, name_of(leaf.kind)));
    std::memcpy(leaf.digest.data(), words.data() + i * kRow, sizeof(Digest));
  }
  return state_root(std::move(leaves));
}

}  // namespace baekji
