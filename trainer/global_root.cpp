#include "trainer/global_root.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "core/digest.h"
#include "parallel/chunk_index.h"

namespace baekji {
namespace {

constexpr std::size_t kWords = sizeof(Digest) / sizeof(std::int64_t);
// One word more than the digest counts the ranks that answer for a leaf.
constexpr std::size_t kRow = kWords + 1;

using Tensors = std::map<std::string, const LogicalTensor*>;
Tensors tensors_of(const ParameterStore& store) {
  Tensors tensors;
  for (GroupId id = 0; id < store.group_count(); ++id) {
    for (const ParameterSpec& member : store.group(id).members) tensors[member.logical.name] = &member.logical;
  }
  return tensors;
}

// For an error: which leaf the `leaf`-th of the model is.
std::string place_of(std::int64_t leaf, const ChunkIndex& index, const Tensors& all) {
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

// The tree over blocks of leaves, one for each rank: a block is a power of two, so that its root is a node of the whole
// tree. For a large model the fold would otherwise take each rank longer than hashing its state.
Digest fold(std::span<const Digest> own_block, std::int64_t blocks, Communicator& world) {
  std::vector<std::int64_t> roots(static_cast<std::size_t>(blocks) * kWords, 0);
  if (!own_block.empty()) {
    const Digest root = merkle_root(own_block);
    std::memcpy(roots.data() + static_cast<std::size_t>(world.rank()) * kWords, root.data(), sizeof(Digest));
  }
  world.all_reduce(Tensor(roots.data(), DType::kInt64, {std::ssize(roots)}), ReduceOp::kSumInteger);
  MerkleBuilder top;
  for (std::size_t i = 0; i < roots.size(); i += kWords) top.add(digest_at(roots.data() + i));
  return top.root();
}

// What a rank hashed, by its place among all leaves: by name, slice, chunk, kind.
using PlacedLeaf = std::pair<std::int64_t, const StateLeaf*>;
std::vector<PlacedLeaf> placed(std::span<const StateLeaf> hashed, const ChunkIndex& index, const Tensors& tensors) {
  std::vector<PlacedLeaf> leaves;
  leaves.reserve(hashed.size());
  for (const StateLeaf& leaf : hashed) {
    const std::int64_t chunk = index.chunk(*tensors.at(leaf.name), leaf.slice, leaf.chunk * kChunkElements);
    leaves.emplace_back(chunk * std::ssize(kStateKinds) + static_cast<std::int64_t>(leaf.kind), &leaf);
  }
  std::sort(leaves.begin(), leaves.end());
  return leaves;
}

}  // namespace

Digest global_state_root(std::span<const StateShard> owned, const ParameterStore& store, Communicator& world,
                         ThreadPool& pool) {
  return global_state_root(state_leaves(owned, pool), store, world);
}

Digest global_state_root(std::span<const StateLeaf> hashed, const ParameterStore& store, Communicator& world,
                         std::int64_t leaves_at_once) {
  const ChunkIndex index(store);
  const Tensors tensors = tensors_of(store);
  const std::vector<PlacedLeaf> mine = placed(hashed, index, tensors);
  const std::int64_t leaves = index.chunks() * std::ssize(kStateKinds);
  std::int64_t block = 1;
  while (ceil_div(leaves, block) > world.size()) block *= 2;
  const std::int64_t block_begin = std::min(world.rank() * block, leaves);
  const std::int64_t block_end = std::min(block_begin + block, leaves);
  std::vector<Digest> own_block(static_cast<std::size_t>(block_end - block_begin));
  // Each leaf comes from one rank, and is zero on the others: an integer sum brings it to all. In pieces, because a
  // buffer for all leaves of a large model costs more than to sum it.
  std::vector<std::int64_t> rows;
  auto next = mine.begin();
  for (std::int64_t first = 0; first < leaves; first += leaves_at_once) {
    const std::int64_t end = std::min(first + leaves_at_once, leaves);
    rows.assign(static_cast<std::size_t>(end - first) * kRow, 0);
    const auto row = [&](std::int64_t leaf) { return rows.data() + static_cast<std::size_t>(leaf - first) * kRow; };
    for (; next != mine.end() && next->first < end; ++next) {
      std::memcpy(row(next->first), next->second->digest.data(), sizeof(Digest));
      ++row(next->first)[kWords];
    }
    world.all_reduce(Tensor(rows.data(), DType::kInt64, {std::ssize(rows)}), ReduceOp::kSumInteger);
    for (std::int64_t leaf = first; leaf < end; ++leaf) {
      if (row(leaf)[kWords] == 1) continue;
      require_equal(std::int64_t{1}, row(leaf)[kWords], "one rank must answer for each chunk of the state",
                    place_of(leaf, index, tensors));
    }
    for (std::int64_t leaf = std::max(first, block_begin); leaf < std::min(end, block_end); ++leaf)
      own_block[static_cast<std::size_t>(leaf - block_begin)] = digest_at(row(leaf));
  }
  return fold(own_block, ceil_div(leaves, block), world);
}

}  // namespace baekji
