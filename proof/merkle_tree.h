#pragma once
// Proofs over the Merkle tree of RFC 6962 (core/digest.h has its hashes and its head): that a leaf stands in a tree,
// and that a tree is the beginning of a larger one.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/digest.h"

namespace baekji {

/// The hash of the complete subtree over the 2^height leaves from index * 2^height on. Wherever they are kept: makers
/// of proofs ask for O(log n) of them.
using MerkleNodes = std::function<Digest(std::int64_t height, std::int64_t index)>;

/// The head of the tree over the first `size` leaves.
Digest tree_head(std::int64_t size, const MerkleNodes& nodes);

/// RFC 6962, section 2.1.1: what leads from leaf `index` to the head of the first `size` leaves, the deepest first.
/// Throws unless 0 <= index < size.
std::vector<Digest> inclusion_proof(std::int64_t index, std::int64_t size, const MerkleNodes& nodes);
/// Whether the proof leads from this leaf hash at `index` to `head`.
bool includes(const Digest& head, std::int64_t size, const Digest& leaf_hash, std::int64_t index,
              std::span<const Digest> proof);

/// RFC 6962, section 2.1.2: that the tree of `size` leaves begins with the tree of `old_size`. Empty when they are
/// equal or the old one is empty. Throws unless 0 <= old_size <= size.
std::vector<Digest> consistency_proof(std::int64_t old_size, std::int64_t size, const MerkleNodes& nodes);
struct TreeHead {
  std::int64_t size = 0;
  Digest root{};
};
/// Whether the proof shows that the tree of `head` begins with the one of `old_head`.
bool extends(const TreeHead& old_head, const TreeHead& head, std::span<const Digest> proof);

}  // namespace baekji
