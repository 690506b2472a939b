#pragma once
// RunHistory: what a run folder knows of its past: contract, ledger and checkpoints. Starts a run or finds where it
// stopped.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "core/file_system.h"
#include "core/logical_tensor.h"
#include "core/thread_pool.h"
#include "parallel/communicator.h"
#include "proof/ledger.h"
#include "proof/log.h"
#include "proof/state_root.h"
#include "trainer/checkpoint_saver.h"
#include "trainer/folder_lock.h"
#include "trainer/step_record.h"

namespace baekji {

/// Where the files of a run are.
struct RunFolder {
  std::filesystem::path root;
  std::filesystem::path experiment() const { return root / "experiment.toml"; }
  std::filesystem::path contract() const { return root / "contract.json"; }
  std::filesystem::path tokenizer() const { return root / "tokenizer.model"; }
  std::filesystem::path ledger() const { return root / "ledger.jsonl"; }
  std::filesystem::path log() const { return root / "log"; }
  std::filesystem::path contract_note() const { return root / "contract.note"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path opened() const { return root / "opened"; }
  std::filesystem::path tensorboard() const { return root / "tensorboard"; }
  std::filesystem::path loss_curve() const { return root / "loss.svg"; }
  std::filesystem::path summary() const { return root / "summary.json"; }
};

/// The training state of this rank, for what a run keeps of it.
struct RunState {
  std::span<const StateShard> held;  ///< filled by step 0 and by loads
  std::vector<StateShard> owned;     ///< what this rank saves; the ranks together own every chunk once
  /// The state root of the whole model, from the leaves of what each rank owns; collective.
  std::function<Digest(std::span<const StateLeaf>)> root_of;
};

/// Over several ranks every call is collective, and rank 0 of `world` alone writes contract and ledger and decides
/// where to go on from; each rank saves what it owns and loads what it holds.
class RunHistory {
 public:
  struct Args {
    RunFolder folder;
    std::string contract;  ///< canonical bytes
    KernelSet kernel_set;
    std::uint64_t seed = 0;
    std::string beacon_value;  ///< bytes, where the seed comes from a beacon
    std::string layout;        ///< in words, for the events of starts
    std::int64_t tensor_grains = 1;
    std::int64_t keep = 2;
    std::int64_t anchor_every = 0;
    std::string signing_key;                       ///< PEM file of the log's key; empty: no log is published
    std::vector<Digest> kernel_sets;               ///< that the opening of a log names, with the one of step 0
    std::string contract_note;                     ///< file that the run folder gets a copy of; empty: none
    bool save_beside_training = false;             ///< takes the memory for it: 12 bytes for each owned element
    FileSystem& files = posix_file_system();       ///< of the checkpoints
    bool accept_kernel_set = false;                ///< go on although another kernel set computed the run so far
    std::optional<RollbackEvent> rollback;         ///< before going on
    std::function<void(const std::string&)> warn;  ///< told of damage that was found and survived
  };
  /// Fills the held state with step 0 of a new run, or with the newest good checkpoint of the run in the folder whose
  /// state root its ledger holds for that step. Throws, with the folder untouched, when the folder holds another
  /// experiment (both contracts), or another kernel set that was not accepted; when its ledger does not take the
  /// rollback; when the ledger is not the one that the folder's log has published; when there is no such key, or the
  /// contract note is of another contract. `world` and `pool` outlive the object.
  RunHistory(Args args, RunState state, Communicator& world, ThreadPool& pool);

  const RunPosition& position() const { return position_; }
  bool resumed() const { return resumed_; }
  /// The batch of the batch order that a step trains on: its own, but for what rollbacks left out.
  std::int64_t batch_of(std::int64_t step) const { return skipped_.batch_of(step); }

  /// Takes the record of the next step. A step that the ledger already holds (it was trained before a crash) must give
  /// the same record bit for bit: a difference is an Error that names the members.
  void record(StepRecord record, bool with_root);

  /// Begins to save the state after the last recorded step, as it is now; one save at a time. It notes the state in the
  /// ledger, then commits the checkpoint, then deletes what need not be kept. With `wait` (or when the history does not
  /// save beside training) the state may not change before finish_save().
  void begin_save(bool wait);
  /// Whether a save is not complete; the same on all ranks.
  bool saving() const { return saver_->under_way(); }
  /// Whether advance_save() would wait for this rank's writer.
  bool writing() const { return saver_->working(); }
  /// Takes the save under way one step further; gives the checkpoint once it is complete. Call when no rank is writing,
  /// or to wait for them. On failure nothing that was good is lost.
  std::optional<SavedCheckpoint> advance_save();
  /// All that is left of the save under way.
  SavedCheckpoint finish_save();
  /// Whether the last recorded step can be had again: from its checkpoint, or, at step 0, from the seed.
  bool saved() const { return position_.step == 0 || saved_step_ == position_.step; }
  /// How long this rank stood still for saves so far.
  double stalled_ms() const { return saver_->stalled_ms(); }

  /// The state root after the last recorded step; collective.
  Digest root() const;

  /// The run ends here: what the ledger holds is published, where the run has a key.
  void end();

 private:
  bool leads() const { return world_.rank() == 0; }
  void start();
  void resume();
  void read_note();
  void keep_note();
  void open_log();
  void sync_ledger();
  void check_before_writing() const;
  void check_rollback(const RollbackEvent& rollback) const;
  nlohmann::json find_position();
  std::string why_not(const CheckpointInfo& info) const;
  void set_aside_undone();
  void roll_back(const RollbackEvent& rollback);
  void share_position();
  void load(std::int64_t step);
  void announce(const CheckpointInfo& info);
  Digest compute_root() const;
  void check_same_run(const GenesisRecord& genesis) const;

  Args args_;
  RunState state_;
  Communicator& world_;
  std::optional<FolderLock> lock_;  // rank 0
  ThreadPool& pool_;
  CheckpointStore checkpoints_;
  std::optional<Ledger> ledger_;          // rank 0
  std::optional<Ed25519PrivateKey> key_;  // rank 0, until the log has it
  std::optional<LogWriter> log_;          // rank 0, with a key
  std::string note_;                      // rank 0: the contract note's bytes; empty: none
  Digest contract_{};
  RunPosition position_;
  SkippedBatches skipped_;
  std::int64_t saved_step_ = -1;
  bool resumed_ = false;
  std::optional<Digest> last_root_;  // of the state after the last recorded step, when computed
  std::optional<CheckpointSaver> saver_;
};

}  // namespace baekji
