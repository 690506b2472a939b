#include "proof/merkle_tree.h"

#include <bit>
#include <optional>
#include <utility>

#include "core/error.h"

namespace baekji {
namespace {

// Where RFC 6962 divides a tree of n > 1 leaves: the largest power of two below n.
std::int64_t left_leaves(std::int64_t n) {
  return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(n - 1)));
}

// The leaves begin..begin + count - 1 of a tree, as one subtree of the division above.
struct Range {
  std::int64_t begin = 0;
  std::int64_t count = 0;
  Range left() const { return {begin, left_leaves(count)}; }
  Range right() const { return {begin + left_leaves(count), count - left_leaves(count)}; }
};

Digest head_of(Range range, const MerkleNodes& nodes) {
  const auto count = static_cast<std::uint64_t>(range.count);
  if (std::has_single_bit(count)) return nodes(std::countr_zero(count), range.begin / range.count);
  return merkle_node(head_of(range.left(), nodes), head_of(range.right(), nodes));
}

void add_path(std::vector<Digest>& path, std::int64_t index, Range range, const MerkleNodes& nodes) {
  if (range.count == 1) return;
  const bool in_left = index < range.right().begin;
  add_path(path, index, in_left ? range.left() : range.right(), nodes);
  path.push_back(head_of(in_left ? range.right() : range.left(), nodes));
}

// `known`: the old tree is this whole range so far, so that its head is what the verifier has already.
void add_growth(std::vector<Digest>& path, std::int64_t old_size, Range range, bool known, const MerkleNodes& nodes) {
  if (old_size == range.begin + range.count) {
    if (!known) path.push_back(head_of(range, nodes));
    return;
  }
  const bool in_left = old_size <= range.right().begin;
  add_growth(path, old_size, in_left ? range.left() : range.right(), known && in_left, nodes);
  path.push_back(head_of(in_left ? range.right() : range.left(), nodes));
}

std::optional<Digest> follow_path(const Digest& leaf, std::int64_t index, std::int64_t size,
                                  std::span<const Digest> proof) {
  if (size == 1) return proof.empty() ? std::optional(leaf) : std::nullopt;
  if (proof.empty()) return std::nullopt;
  const std::int64_t k = left_leaves(size);
  const bool in_left = index < k;
  const auto inner =
      follow_path(leaf, in_left ? index : index - k, in_left ? k : size - k, proof.first(proof.size() - 1));
  if (!inner) return std::nullopt;
  return in_left ? merkle_node(*inner, proof.back()) : merkle_node(proof.back(), *inner);
}

// The heads of the old and of the new tree, both within one range, as the proof has them.
struct Growth {
  Digest before{};
  Digest after{};
};
std::optional<Growth> follow_growth(const Digest* known, std::int64_t old_size, std::int64_t size,
                                    std::span<const Digest> proof) {
  if (old_size == size) {
    if (known != nullptr) return proof.empty() ? std::optional(Growth{*known, *known}) : std::nullopt;
    return proof.size() == 1 ? std::optional(Growth{proof[0], proof[0]}) : std::nullopt;
  }
  if (proof.empty()) return std::nullopt;
  const std::int64_t k = left_leaves(size);
  const std::span<const Digest> deeper = proof.first(proof.size() - 1);
  if (old_size <= k) {
    const auto inner = follow_growth(known, old_size, k, deeper);
    if (!inner) return std::nullopt;
    return Growth{inner->before, merkle_node(inner->after, proof.back())};
  }
  const auto inner = follow_growth(nullptr, old_size - k, size - k, deeper);
  if (!inner) return std::nullopt;
  return Growth{merkle_node(proof.back(), inner->before), merkle_node(proof.back(), inner->after)};
}

void require_within(std::int64_t value, std::int64_t most, const char* problem) {
  if (value < 0 || value > most) throw Error(problem).values(fmt::format("0 to {}", most), fmt::format("{}", value));
}

}  // namespace

Digest tree_head(std::int64_t size, const MerkleNodes& nodes) {
  return size == 0 ? sha256("") : head_of({0, size}, nodes);
}

std::vector<Digest> inclusion_proof(std::int64_t index, std::int64_t size, const MerkleNodes& nodes) {
  require_within(index, size - 1, "the leaf lies outside the tree");
  std::vector<Digest> path;
  add_path(path, index, {0, size}, nodes);
  return path;
}

bool includes(const Digest& head, std::int64_t size, const Digest& leaf_hash, std::int64_t index,
              std::span<const Digest> proof) {
  return index >= 0 && index < size && follow_path(leaf_hash, index, size, proof) == head;
}

std::vector<Digest> consistency_proof(std::int64_t old_size, std::int64_t size, const MerkleNodes& nodes) {
  require_within(old_size, size, "the earlier tree is larger than the later one");
  std::vector<Digest> path;
  if (old_size > 0) add_growth(path, old_size, {0, size}, true, nodes);
  return path;
}

bool extends(const TreeHead& old_head, const TreeHead& head, std::span<const Digest> proof) {
  if (old_head.size < 0 || old_head.size > head.size) return false;
  if (old_head.size == 0) return proof.empty() && old_head.root == sha256("");
  const auto found = follow_growth(&old_head.root, old_head.size, head.size, proof);
  return found && found->before == old_head.root && found->after == head.root;
}

}  // namespace baekji
