#pragma once
// The state root: one digest of the whole training state (master weights and both moments), whatever the layout. The
// bytes are fixed by docs/formats/state-root.md.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/digest.h"
#include "core/logical_tensor.h"
#include "core/thread_pool.h"

namespace baekji {

/// The version of docs/formats/state-root.md that this code writes; part of the contract.
inline constexpr std::int64_t kStateRootVersion = 1;

/// The hash of one chunk of one of the three arrays of one slice, with its place in the tree.
struct StateLeaf {
  std::string name;
  std::int64_t slice = 0;
  std::int64_t chunk = 0;
  StateKind kind = StateKind::kMaster;
  Digest digest{};          ///< RFC 6962 leaf hash
  std::int64_t slices = 1;  ///< how many slices the tensor has, and chunks each slice: to find gaps
  std::int64_t chunks = 1;
};

/// What stands before the elements in a leaf: everything that says which elements they are.
/// `elements` is the number of elements of this chunk.
std::string state_leaf_header(const LogicalTensor& tensor, StateKind kind, std::int64_t slice, std::int64_t chunk);
/// The elements that chunk `chunk` of any slice of the tensor holds.
std::int64_t chunk_elements(const LogicalTensor& tensor, std::int64_t chunk);

/// The leaves of these shards, three per chunk, hashed in parallel over chunks; any order of shards. Throws when a
/// shard is not chunk-aligned, lies outside its slice, or lacks one of its arrays.
std::vector<StateLeaf> state_leaves(std::span<const StateShard> shards, ThreadPool& pool);

/// The tree head over all leaves of a state, in the order (name bytes, slice, chunk, kind). Throws, naming tensor,
/// slice and chunk, when a leaf is there twice or missing, and when there are none. A tensor of which no leaf came
/// cannot be missed.
Digest state_root(std::vector<StateLeaf> leaves);

/// state_root(state_leaves(shards)), for a process that holds the whole state.
Digest state_root(std::span<const StateShard> shards, ThreadPool& pool);

}  // namespace baekji
