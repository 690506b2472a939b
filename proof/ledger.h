#pragma once
// The ledger: append-only, hash-chained records of a run, one per step and one per event, as JSON Lines. The bytes are
// fixed by docs/formats/ledger.md.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "core/file_system.h"
#include "proof/ledger_grammar.h"
#include "proof/ledger_records.h"

namespace baekji {

/// The ledger of one run, open for appending. Every record that is read or appended must be one that the grammar allows
/// there. In memory it keeps some forty bytes per step and the known state roots; records are read back from the file
/// on demand.
class Ledger {
 public:
  /// Starts a ledger with its genesis record, synced. Throws when the file is already there. A crash leaves either no
  /// ledger or one with a whole genesis record.
  static Ledger create(const std::filesystem::path& path, const GenesisRecord& genesis,
                       FileSystem& files = posix_file_system(), std::optional<LedgerRules> rules = {});

  /// Opens and verifies the whole chain. A torn last line (no newline, or no JSON: what a crash leaves) is cut off the
  /// file and reported by torn_bytes(). Anything else that is wrong is an Error that names the line; the file stays as
  /// it was.
  static Ledger open(const std::filesystem::path& path, FileSystem& files = posix_file_system(),
                     std::optional<LedgerRules> rules = {});

  /// Verifies without changing the file, torn tail or not, and without being able to append.
  /// Without rules what follows from the contract is not checked.
  static Ledger open_read_only(const std::filesystem::path& path, std::optional<LedgerRules> rules = {});

  /// The first record alone, without the chain: for a quick look at whose ledger it is.
  static GenesisRecord genesis_of(const std::filesystem::path& path);

  Ledger(Ledger&&) noexcept = default;
  Ledger& operator=(Ledger&&) noexcept = default;

  /// Appends a record in one write and returns its digest; on failure the ledger takes no further records (open it
  /// again: the file may end in a torn line). `body` is a JSON object without floating-point values. Kind "step" must
  /// be the step after last_step(); kind "genesis" is refused.
  Digest append(std::string_view kind, const nlohmann::json& body);
  Digest append(const StepRecord& record);
  /// An event: kind "event", body {"event": name, ...details}.
  Digest append_event(std::string_view name, const nlohmann::json& details);
  /// On success everything appended is on the disk.
  void sync();

  /// Throws what append_event() would, and writes nothing.
  void check_event(std::string_view name, const nlohmann::json& details) const;

  const GenesisRecord& genesis() const { return grammar_.genesis(); }
  std::int64_t record_count() const { return record_count_; }
  /// The number of the last step record; 0 when there is none.
  std::int64_t last_step() const { return grammar_.last_step(); }
  /// The body of a step's record, the last one after rollbacks; nothing when the ledger does not reach it.
  std::optional<nlohmann::json> find_step(std::int64_t step) const;
  /// Whether a genesis or step record, or a checkpoint event, holds this state root; and for which step (step 0:
  /// genesis). States that a rollback undid are no longer known.
  bool state_root_known(const Digest& root) const { return step_of_state_root(root).has_value(); }
  std::optional<std::int64_t> step_of_state_root(const Digest& root) const { return grammar_.step_of_root(root); }
  /// The root of the state after `step` (0: genesis); nothing when no record holds one.
  std::optional<Digest> state_root_of(std::int64_t step) const;
  /// All of them, by step.
  const std::map<std::int64_t, Digest>& state_roots() const { return grammar_.state_roots(); }
  /// SHA-256, in hex, of the line that was the last of `records`; "no line" when the ledger never had so many. Reads
  /// the file.
  std::string head_after(std::int64_t records) const;
  /// SHA-256 of the last line: the digest that stands for the whole history.
  const Digest& head() const { return head_; }
  /// The batches that rollbacks left out.
  const SkippedBatches& skipped() const { return grammar_.skipped(); }
  /// Of a step from 1 to last_step(): how far it moved the weights, and what computed its record.
  double move_of(std::int64_t step) const { return grammar_.move_of(step); }
  const KernelSet& kernel_set_of(std::int64_t step) const { return grammar_.kernel_set_of(step); }
  /// Those of all sessions, genesis's first.
  const std::vector<KernelSet>& kernel_sets() const { return grammar_.kernel_sets(); }
  const RollbackAccount& rollbacks() const { return grammar_.rollbacks(); }
  std::int64_t divergences() const { return grammar_.divergences(); }
  /// Bytes of the torn line that open() cut off (or open_read_only() left out); 0 when the ledger was whole.
  std::int64_t torn_bytes() const { return torn_bytes_; }

  /// Calls visit(index, kind, body) for every record in order. Reads the file.
  using Visit = std::function<void(std::int64_t, const std::string&, const nlohmann::json&)>;
  void for_each(const Visit& visit) const;

 private:
  explicit Ledger(std::optional<LedgerRules> rules) : grammar_(std::move(rules)) {}
  static Ledger read(const std::filesystem::path& path, std::optional<LedgerRules> rules);
  nlohmann::json event_body(std::string_view name, const nlohmann::json& details) const;
  void require_chained(const nlohmann::json& record, const std::string& place) const;
  LedgerGrammar::Change check_line(const std::string& line, const std::string& place) const;
  void take(std::string_view line, const LedgerGrammar::Change& change);
  std::string place_of_line(std::int64_t number) const;

  std::filesystem::path path_;
  FileSystem* files_ = nullptr;
  std::unique_ptr<AppendFile> file_;
  Digest head_{};
  std::int64_t record_count_ = 0;
  std::int64_t size_bytes_ = 0;
  std::int64_t torn_bytes_ = 0;
  bool failed_ = false;
  std::vector<std::int64_t> step_offsets_;  // of step i + 1
  LedgerGrammar grammar_;
};

}  // namespace baekji
