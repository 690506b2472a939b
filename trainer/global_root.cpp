#include "trainer/global_root.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "core/digest.h"
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

// For an error: which leaf the `leaf`-th of the model is.
std::string place_of(std::int64_t leaf, const ChunkIndex& index,
                     const std::map<std::string, const LogicalTensor*>& all) {
  const auto kinds = std::ssize(kStateKinds);
  for (const auto& [name, tensor] : all) {
    const auto [first, end] = index.chunks_of(index.name_index(name));
    const std::int64_t chunk = leaf / kinds - first;
    if (chunk < 0 || leaf / kinds >= end) continue;
    return fmt::format("{} slice {} chunk {} {}", name, chunk / tensor->chunks_per_slice(),
                       chunk % tensor->chunks_per_slice(),
                       name_of(kStateKinds[static_cast<std::size_t>(leaf % kinds)]));
  }
  return {};
}

Digest digest_at(const std::int64_t* words) {
  Digest digest{};
  std::memcpy(digest.data(), words, sizeof(Digest));
  return digest;
}

// The tree over rows that every rank holds. Each rank folds one block of leaves, a power of two so that its root is a
// node of the whole tree: for a large model the fold would otherwise take each rank longer than hashing its state.
Digest fold(std::span<const std::int64_t> rows, Communicator& world) {
  const std::int64_t leaves = std::ssize(rows) / static_cast<std::int64_t>(kRow);
  std::int64_t block = 1;
  while (ceil_div(leaves, block) > world.size()) block *= 2;
  std::vector<std::int64_t> roots(static_cast<std::size_t>(ceil_div(leaves, block)) * kWords, 0);
  const std::int64_t first = world.rank() * block;
  if (first < leaves) {
    MerkleBuilder builder;
    for (std::int64_t i = first; i < std::min(first + block, leaves); ++i)
      builder.add(digest_at(rows.data() + static_cast<std::size_t>(i) * kRow));
    const Digest root = builder.root();
    std::memcpy(roots.data() + static_cast<std::size_t>(world.rank()) * kWords, root.data(), sizeof(Digest));
  }
  world.all_reduce(Tensor(roots.data(), DType::kInt64, {std::ssize(roots)}), ReduceOp::kSumInteger);
  MerkleBuilder top;
  for (std::size_t i = 0; i < roots.size(); i += kWords) top.add(digest_at(roots.data() + i));
  return top.root();
}

}  // namespace

Digest global_state_root(std::span<const StateShard> owned, const ParameterStore& store, Communicator& world,
                         ThreadPool& pool) {
  return global_state_root(state_leaves(owned, pool), store, world);
}

Digest global_state_root(std::span<const StateLeaf> hashed, const ParameterStore& store, Communicator& world) {
  const ChunkIndex index(store);
  // Each leaf comes from one rank, and is zero on the others: an integer sum brings it to all. Leaves stand in the
  // order of the root: by name, slice, chunk, kind.
  std::vector<std::int64_t> words(static_cast<std::size_t>(index.chunks()) * kStateKinds.size() * kRow, 0);
  const std::map<std::string, const LogicalTensor*> tensors = tensors_of(store);
  for (const StateLeaf& leaf : hashed) {
    const auto chunk =
        static_cast<std::size_t>(index.chunk(*tensors.at(leaf.name), leaf.slice, leaf.chunk * kChunkElements));
    std::int64_t* row = words.data() + (chunk * kStateKinds.size() + static_cast<std::size_t>(leaf.kind)) * kRow;
    std::memcpy(row, leaf.digest.data(), sizeof(Digest));
    row[kWords] = 1;
  }
  world.all_reduce(Tensor(words.data(), DType::kInt64, {std::ssize(words)}), ReduceOp::kSumInteger);
  for (std::size_t i = kWords; i < words.size(); i += kRow) {
    if (words[i] == 1) continue;
    require_equal(std::int64_t{1}, words[i], "one rank must answer for each chunk of the state",
                  place_of(static_cast<std::int64_t>(i / kRow), index, tensors));
  }
  return fold(words, world);
}

}  // namespace baekji
