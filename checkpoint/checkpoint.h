#pragma once
// Checkpoint: one saved state on disk, open for reading. Nothing is read from a shard whose digest was not checked
// first.

#include <filesystem>
#include <span>
#include <vector>

#include "checkpoint/manifest.h"
#include "core/logical_tensor.h"
#include "core/thread_pool.h"

namespace baekji {

class Checkpoint {
 public:
  /// Reads and checks the manifest, and that every file is there with its size. Throws, naming the file, when not.
  static Checkpoint open(const std::filesystem::path& directory);

  const std::filesystem::path& path() const { return path_; }
  const CheckpointInfo& info() const { return manifest_.info; }
  /// Every tensor, sorted by name.
  const std::vector<LogicalTensor>& tensors() const { return manifest_.tensors; }
  const Manifest& manifest() const { return manifest_; }
  /// SHA-256 of manifest.json, which fixes every byte of the checkpoint.
  const Digest& digest() const { return digest_; }
  std::int64_t size_bytes() const;

  /// Checks the digest of every file not checked before, files in parallel. Throws, naming the file, at the first (in
  /// the order of the manifest) that differs.
  void verify(ThreadPool& pool);

  /// For a checkpoint that somebody else may have made: verify(), and nothing in its directory is more or other than
  /// its manifest implies (checkpoint/exact_files.h), whose step its name says. Never a checkpoint of step 0.
  void require_exact(ThreadPool& pool);

  /// Fills the arrays of `shards` (those whose pointer is not null) from whatever slicing was saved: any owners, any
  /// ranges, the same geometry of tensors. Only the files that hold wanted elements are read; their digests are checked
  /// before, unless verify() did. Throws when a tensor is not in the checkpoint or has another geometry; the arrays may
  /// then be partly overwritten.
  void load(std::span<const StateShard> shards);

 private:
  Checkpoint() = default;
  void check_file(std::size_t file) const;  // 0 is the index, then the shards

  std::filesystem::path path_;
  Manifest manifest_;
  Digest digest_{};
  std::vector<bool> checked_;
};

/// The state root of what the files hold, recomputed a piece at a time (48 MiB, and about 300 bytes for each chunk).
/// The manifest only says what its writer claimed; this is what its weights and moments are.
Digest saved_state_root(Checkpoint& checkpoint, ThreadPool& pool);

/// Throws when `root`, that of the state as loaded, is not the one of the manifest.
void check_loaded_state(const CheckpointInfo& info, const Digest& root);
/// Throws when the state root of `shards` (the whole state) is not the one of the manifest.
void check_loaded_state(const CheckpointInfo& info, std::span<const StateShard> shards, ThreadPool& pool);

}  // namespace baekji
