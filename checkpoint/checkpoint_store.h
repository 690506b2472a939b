#pragma once
// CheckpointStore: the checkpoints of one run, in RUN/checkpoints. docs/formats/checkpoint.md fixes the files.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "core/file_system.h"
#include "core/logical_tensor.h"
#include "core/thread_pool.h"

namespace baekji {

/// Saving is three verbs, so that every rank can write its own part: writer 0 begins, every writer writes its shard,
/// and writer 0 commits the records of all (with a barrier between the verbs). A crash at any moment leaves the
/// checkpoints that were there, plus at most a "*.partial" directory that remove_leftovers() deletes. The verbs may run
/// on any thread, one at a time for each writer.
class CheckpointStore {
 public:
  /// Touches nothing on disk.
  explicit CheckpointStore(std::filesystem::path directory, FileSystem& files = posix_file_system());

  /// Writer 0: an empty step-NNNNNNNN.partial, replacing one that a crash left.
  void begin(std::int64_t step);
  /// Any writer: shard-WWWWW.h5 with all three arrays of each shard, synced. A shard that fails part-way (a full disk,
  /// or `stop` asks to give up) is an Error; nothing but the partial directory is touched.
  ShardRecord write_shard(std::int64_t step, std::int64_t writer, std::span<const StateShard> shards,
                          const std::stop_token& stop = {});
  /// Writer 0: index.h5, manifest.json, sync, rename. A checkpoint of the same step that is already there is replaced.
  /// On failure the partial directory is left for remove_leftovers().
  Checkpoint commit(const CheckpointInfo& info, std::span<const ShardRecord> records);
  /// Deletes the partial directory of a save that failed, as far as that goes. Only when no writer uses it any more.
  void abandon(std::int64_t step) noexcept;
  /// All three for a process that holds the whole state; a failure also removes the partial directory.
  Checkpoint save(const CheckpointInfo& info, std::span<const StateShard> shards);

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path path_of(std::int64_t step) const;
  /// The steps of all committed checkpoints, ascending, damaged or not.
  std::vector<std::int64_t> list() const;

  struct Newest {
    std::optional<Checkpoint> checkpoint;  ///< verified to the last byte; empty when none is good
    std::vector<std::string> problems;     ///< one text for each newer one that was damaged or refused
  };
  /// Why a checkpoint that is whole cannot be used (another contract, a state root that the ledger does not hold);
  /// empty when it can.
  using Refusal = std::function<std::string(const CheckpointInfo&)>;
  /// Whether a checkpoint may hold more than its manifest names: what a run's own past left does no harm there, a
  /// stranger's may.
  enum class Extras { kAllowed, kRefused };
  /// The newest checkpoint that verifies in full (kRefused: Checkpoint::require_exact) and is not refused, from the
  /// newest down.
  Newest newest_good(ThreadPool& pool, const Refusal& refusal = {}, Extras extras = Extras::kAllowed) const;

  /// Renames the checkpoint of a step that a rollback undid to step-NNNNNNNN.rolled-back (replacing an older one):
  /// kept, but no checkpoint any more.
  void set_aside(std::int64_t step);

  /// Deletes what crashes left; returns the names. Only while nobody writes.
  std::vector<std::string> remove_leftovers();
  /// Deletes all but the newest `keep` (>= 1) and those whose step is a multiple of `anchor_every` (0: no anchors);
  /// returns the deleted steps. Checkpoints with a missing or short file do not count and are left for inspection.
  std::vector<std::int64_t> prune(std::int64_t keep, std::int64_t anchor_every);

 private:
  std::filesystem::path partial_path_of(std::int64_t step) const;

  std::filesystem::path directory_;
  FileSystem& files_;
};

}  // namespace baekji
