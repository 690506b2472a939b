#pragma once
// CheckpointSaver: saves the state of all ranks while training goes on. Training stands still for a copy of the state
// and for what the ranks tell one another; hashing, writing and syncing happen on a thread beside it.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/state_snapshot.h"
#include "core/background_job.h"
#include "core/logical_tensor.h"
#include "core/thread_pool.h"
#include "parallel/communicator.h"
#include "proof/state_root.h"

namespace baekji {

/// A save that is complete; the same on every rank.
struct SavedCheckpoint {
  std::int64_t step = 0;
  Digest root{};
  std::filesystem::path path;
  double stalled_ms = 0;  ///< training stood still: copying, waiting, agreeing; of the slowest rank
  double written_ms = 0;  ///< hashing, writing and syncing, beside training or not; of the slowest rank
};

/// A save goes through two jobs of a rank, with an exchange of all ranks after each: every owner hashes and writes its
/// shard, then rank 0 commits the shards of all. Only the jobs leave the calling thread, and they never communicate.
class CheckpointSaver {
 public:
  struct Args {
    CheckpointStore& store;
    std::vector<StateShard> owned;  ///< what this rank writes; the ranks together own every chunk once
    bool beside_training = false;   ///< takes the memory for a snapshot; without it every save stops training
    std::int64_t keep = 1;
    std::int64_t anchor_every = 0;
    /// The state root from the leaves of all ranks; collective.
    std::function<Digest(std::span<const StateLeaf>)> root_of;
    /// Called on rank 0 with what will be committed, before anybody can find it.
    std::function<void(const CheckpointInfo&)> announce;
  };
  /// `world` and `pool` outlive the object, and the owned arrays stay where they are.
  CheckpointSaver(Args args, Communicator& world, ThreadPool& pool);

  /// Begins to save the state as it is now. `info` lacks the state root; `root` is it when it is known. With `wait` (or
  /// without a snapshot) nothing is copied, and the shard is written before this returns. Collective; not while a save
  /// is under way.
  void begin(const CheckpointInfo& info, const std::optional<Digest>& root, bool wait);
  /// Whether a save was begun and is not complete. The same on all ranks.
  bool under_way() const { return phase_ != Phase::kNone; }
  /// Whether this rank's job is still at work: advance() would wait for it.
  bool working() const { return job_.running(); }
  /// Waits for the running job and goes on to the next one; gives the checkpoint when there is none left. A job's
  /// failure comes out here; what was good stays good, and one that wrote alone leaves no partial directory.
  /// Collective.
  std::optional<SavedCheckpoint> advance();

  /// How long this rank stood still for all saves so far.
  double stalled_ms() const { return all_stalls_ms_; }

 private:
  enum class Phase { kNone, kShards, kCommit };

  bool leads() const { return world_.rank() == 0; }
  std::int64_t writer_number();
  void run(const BackgroundJob::Job& work);
  void write_shard(std::span<const StateShard> shards, std::int64_t writer, const std::stop_token& stop);
  void commit();
  void stall(double ms);
  SavedCheckpoint complete();

  Args args_;
  Communicator& world_;
  ThreadPool& pool_;
  ThreadPool alone_{1};  // a job beside training must not use the threads of the kernels
  std::optional<StateSnapshot> snapshot_;
  Phase phase_ = Phase::kNone;
  bool wait_ = false;  // the save under way runs its jobs in the calling thread
  CheckpointInfo info_;
  std::optional<Digest> root_;
  std::vector<StateLeaf> leaves_;  // of the job that writes the shard
  std::string record_;
  double stalled_ms_ = 0;  // of the save under way
  double written_ms_ = 0;
  double all_stalls_ms_ = 0;
  BackgroundJob job_;  // last: it ends before what it works on goes
};

}  // namespace baekji
