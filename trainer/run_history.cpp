#include "trainer/run_history.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/untrusted_file.h"
#include "proof/contract.h"
#include "proof/contract_note.h"
#include "proof/genesis.h"
#include "trainer/ledger_rules.h"

namespace baekji {
namespace {

// What is wrong with each of several things, one to a line.
std::string in_short(std::vector<std::string> problems) {
  for (std::string& text : problems) {
    for (std::size_t at = text.find("\n  "); at != std::string::npos; at = text.find("\n  ", at))
      text.replace(at, 3, "; ");
  }
  return fmt::format("{}", fmt::join(problems, "\n            "));
}

}  // namespace

RunHistory::RunHistory(Args args, RunState state, Communicator& world, ThreadPool& pool)
    : args_(std::move(args)),
      state_(std::move(state)),
      world_(world),
      pool_(pool),
      checkpoints_(args_.folder.checkpoints(), args_.files),
      contract_(contract_digest(args_.contract)) {
  std::int32_t has_past = 0;
  if (leads()) {
    if (!args_.signing_key.empty()) key_ = Ed25519PrivateKey::read(args_.signing_key);
    read_note();
    lock_.emplace(args_.folder.root);
    has_past = posix_file_system().exists(args_.folder.ledger()) ? 1 : 0;
  }
  world_.broadcast(Tensor(&has_past, DType::kInt32, {1}), 0);
  if (has_past == 0 && args_.rollback) {
    throw Error("there is nothing to go back to")
        .values("a run with a ledger", "none")
        .at(args_.folder.root.string())
        .hint("--rollback is for a run that has begun");
  }
  if (has_past != 0)
    resume();
  else
    start();
  saver_.emplace(CheckpointSaver::Args{.store = checkpoints_,
                                       .owned = state_.owned,
                                       .beside_training = args_.save_beside_training,
                                       .keep = args_.keep,
                                       .anchor_every = args_.anchor_every,
                                       .root_of = state_.root_of,
                                       .announce = [this](const CheckpointInfo& info) { announce(info); }},
                 world_, pool_);
}

void RunHistory::start() {
  FileSystem& files = posix_file_system();
  if (leads()) {
    if (files.exists(args_.folder.checkpoints()) && !checkpoints_.list().empty()) {
      throw Error("the run folder has checkpoints but no ledger")
          .values("ledger.jsonl beside checkpoints/", "checkpoints only")
          .at(args_.folder.root.string())
          .hint("a state without its history is not trusted: restore the ledger, or use another run.output");
    }
    if (files.exists(log_checkpoint_path(args_.folder.log()))) {
      throw Error("the run folder has a published log but no ledger")
          .values("ledger.jsonl beside log/", "log/ only")
          .at(args_.folder.root.string())
          .hint("restore the ledger that was published, or use another run.output");
    }
    files.create_directories(args_.folder.checkpoints());
    files.write(args_.folder.contract(), args_.contract);
    keep_note();
  }
  fill_genesis(state_.held, args_.seed, pool_);
  last_root_ = compute_root();
  if (leads()) {
    ledger_ = Ledger::create(args_.folder.ledger(),
                             {.contract = contract_,
                              .state_root = *last_root_,
                              .kernel_set = args_.kernel_set,
                              .beacon_value = args_.beacon_value},
                             posix_file_system(), ledger_rules(args_.contract));
    ledger_->append_event("start", start_details(args_.layout));
    open_log();
  }
}

// On rank 0, before the folder is touched.
void RunHistory::read_note() {
  if (args_.contract_note.empty()) return;
  if (!posix_file_system().exists(args_.contract_note)) {
    throw Error("there is no contract note")
        .values("the note that run.contract_note names", "no file")
        .at(args_.contract_note);
  }
  note_ = read_untrusted(args_.contract_note, kMostNoteBytes);
  const ContractNote note = parse_contract_note(parse_note(note_, args_.contract_note), args_.contract_note);
  const ContractNote wanted = contract_note_of(args_.contract, note.name);
  if (note == wanted) return;
  throw Error("the contract note is of another contract")
      .values(fmt::format("contract {}, {}", to_hex(contract_), wanted.seed),
              fmt::format("contract {}, {}", to_hex(note.contract), note.seed))
      .at(args_.contract_note)
      .hint("sign a note for this contract, or restore the keys of the experiment that it was signed for");
}

void RunHistory::keep_note() {
  FileSystem& files = posix_file_system();
  const std::filesystem::path path = args_.folder.contract_note();
  if (note_.empty() || (files.exists(path) && files.read(path) == note_)) return;
  std::filesystem::path unfinished = path;
  unfinished += ".new";
  files.write(unfinished, note_);
  files.rename(unfinished, path);
}

// A folder's log binds its ledger whether or not this run goes on publishing.
void RunHistory::open_log() {
  if (key_) {
    std::vector<Digest> kernel_sets = args_.kernel_sets;
    kernel_sets.push_back(kernel_set_digest(ledger_->genesis().kernel_set));
    log_.emplace(LogWriter::Args{.folder = args_.folder.log(),
                                 .ledger = args_.folder.ledger(),
                                 .contract = contract_,
                                 .key = *std::exchange(key_, std::nullopt),
                                 .kernel_sets = std::move(kernel_sets)});
    const auto& named = log_->kernel_sets();
    if (std::find(named.begin(), named.end(), kernel_set_digest(args_.kernel_set)) == named.end())
      args_.warn("the opening of the log does not name this kernel set: no verifier will count its steps as proved");
    if (log_->mended() > 0)
      args_.warn(fmt::format("{} tiles of the log were missing or damaged, and are written again", log_->mended()));
    return;
  }
  if (posix_file_system().exists(log_checkpoint_path(args_.folder.log())))
    args_.warn("the run folder has a log, but run.signing_key is empty: it is not published further");
}

void RunHistory::sync_ledger() {
  ledger_->sync();
  if (log_) log_->publish(ledger_->record_count());
}

void RunHistory::end() {
  if (log_) sync_ledger();
}

void RunHistory::check_same_run(const GenesisRecord& genesis) const {
  if (genesis.contract != contract_) {
    throw Error("the run folder holds another experiment")
        .values("contract " + to_hex(genesis.contract), "contract " + to_hex(contract_))
        .at(args_.folder.root.string())
        .hint("set run.output to a new folder, or restore the keys that experiment.toml there has");
  }
}

// On rank 0. What refuses to go on: opening a ledger for appending may already cut a torn line off.
void RunHistory::check_before_writing() const {
  const GenesisRecord genesis = Ledger::genesis_of(args_.folder.ledger());
  check_same_run(genesis);
  const std::vector<std::string> differences = kernel_set_differences(genesis.kernel_set, args_.kernel_set);
  if (!differences.empty() && !args_.accept_kernel_set) {
    throw Error("the run was computed by another kernel set: going on would change its bits")
        .values("kernel set " + to_hex(kernel_set_digest(genesis.kernel_set)),
                fmt::format("{}", fmt::join(differences, "; ")))
        .at(args_.folder.root.string())
        .hint("--accept-kernel-set goes on and records the change in the ledger");
  }
  if (posix_file_system().exists(log_checkpoint_path(args_.folder.log())))
    check_published(args_.folder.log(), args_.folder.ledger(), contract_);
  if (args_.rollback) check_rollback(*args_.rollback);
}

void RunHistory::check_rollback(const RollbackEvent& rollback) const {
  const Ledger ledger = Ledger::open_read_only(args_.folder.ledger(), ledger_rules(args_.contract));
  for (const BatchRange& range : ledger.skipped().ranges()) {
    if (range.from <= rollback.skip.from && rollback.skip.to <= range.to) {
      throw Error("these batches are left out already")
          .values(fmt::format("batches that the run would take, not {} to {}", range.from, range.to),
                  fmt::format("{} to {}", rollback.skip.from, rollback.skip.to))
          .at(args_.folder.ledger().string())
          .hint("to go on after a rollback, start without --rollback");
    }
  }
  ledger.check_event("rollback", rollback_details(rollback));
}

// On rank 0: why the run cannot go on from a checkpoint; empty: it can. That some step has this root is not enough:
// void steps change no state, so several steps may.
std::string RunHistory::why_not(const CheckpointInfo& info) const {
  if (info.contract != contract_) return "its contract is not this run's";
  if (info.step == 0) return "step 0 comes from the seed alone";
  if (ledger_->state_root_of(info.step) != info.state_root)
    return "its state root is not the one of its step in this run's ledger";
  return {};
}

// On rank 0: opens the ledger and finds the newest good checkpoint. Sets position_ (step 0 when there is none) and
// gives what the event of the restart says.
nlohmann::json RunHistory::find_position() {
  check_before_writing();
  ledger_ = Ledger::open(args_.folder.ledger(), posix_file_system(), ledger_rules(args_.contract));
  open_log();
  keep_note();
  if (args_.rollback) roll_back(*args_.rollback);
  set_aside_undone();
  skipped_ = ledger_->skipped();
  for (const std::string& name : checkpoints_.remove_leftovers())
    args_.warn("removed an unfinished checkpoint: " + name);
  const auto newest = checkpoints_.newest_good(pool_, [this](const CheckpointInfo& info) { return why_not(info); });
  if (!newest.checkpoint && !newest.problems.empty()) {
    throw Error("no checkpoint of the run is good")
        .values("a good one", in_short(newest.problems))
        .at(checkpoints_.directory().string())
        .hint("restore a file that is named, or move checkpoints/ away to train again from step 0");
  }
  for (const std::string& problem : newest.problems) args_.warn(problem);
  if (newest.checkpoint) {
    const CheckpointInfo& info = newest.checkpoint->info();
    position_ = {.step = info.step, .updates = info.updates, .position = info.position, .tokens = info.tokens};
    saved_step_ = info.step;
  }
  return resume_details({.step = position_.step,
                         .kernel_set = args_.kernel_set,
                         .layout = args_.layout,
                         .torn_bytes = ledger_->torn_bytes(),
                         .problems = newest.problems});
}

// On rank 0. Events and checkpoints of what is undone stay: as history, and under another name.
void RunHistory::roll_back(const RollbackEvent& rollback) {
  ledger_->append_event("rollback", rollback_details(rollback));
  sync_ledger();
}

// On rank 0. After a rollback, and after one that a crash cut short: no state may bear the name of a step that the run
// has yet to make.
void RunHistory::set_aside_undone() {
  CheckpointStore opened(args_.folder.opened(), args_.files);
  for (CheckpointStore* store : {&checkpoints_, &opened}) {
    for (const std::int64_t step : store->list()) {
      if (step > ledger_->last_step()) store->set_aside(step);
    }
  }
}

// What rank 0 read from the disk.
void RunHistory::share_position() {
  std::vector<BatchRange> ranges = skipped_.ranges();
  std::array<std::int64_t, 6> found{position_.step,   position_.updates, position_.position,
                                    position_.tokens, saved_step_,       std::ssize(ranges)};
  world_.broadcast(Tensor(found.data(), DType::kInt64, {std::ssize(found)}), 0);
  position_ = {.step = found[0], .updates = found[1], .position = found[2], .tokens = found[3]};
  saved_step_ = found[4];
  if (found[5] == 0) return;
  static_assert(sizeof(BatchRange) == 2 * sizeof(std::int64_t));
  ranges.resize(static_cast<std::size_t>(found[5]));
  world_.broadcast(Tensor(ranges.data(), DType::kInt64, {found[5], 2}), 0);
  skipped_ = SkippedBatches(std::move(ranges));
}

void RunHistory::resume() {
  nlohmann::json details;
  if (leads()) details = find_position();
  share_position();
  if (saved_step_ >= 0) {
    load(saved_step_);
  } else {
    fill_genesis(state_.held, args_.seed, pool_);
    last_root_ = compute_root();
    if (leads()) {
      require_equal(to_hex(ledger_->genesis().state_root), to_hex(*last_root_), "step 0 does not regenerate",
                    args_.folder.root.string());
    }
  }
  resumed_ = true;
  if (!leads()) return;
  ledger_->append_event("resume", details);
  ledger_->sync();
}

void RunHistory::load(std::int64_t step) {
  Checkpoint checkpoint = Checkpoint::open(checkpoints_.path_of(step));
  checkpoint.load(state_.held);
  last_root_ = compute_root();
  check_loaded_state(checkpoint.info(), *last_root_);
}

void RunHistory::record(StepRecord record, bool with_root) {
  last_root_.reset();
  if (with_root) record.state_root = last_root_ = compute_root();
  position_ = position_after(record);
  if (!leads()) return;
  if (record.step > ledger_->last_step()) {
    ledger_->append(record);
    return;
  }
  const auto before = ledger_->find_step(record.step);
  const auto differences = step_differences(before.value(), step_body(record));
  if (differences.empty()) return;
  ledger_->append_event("divergence", divergence_details({.step = record.step, .members = differences}));
  sync_ledger();
  throw Error(fmt::format("step {} was trained before, and gives another record now", record.step))
      .values(before->dump(), step_body(record).dump())
      .at(fmt::format("{} ({})", args_.folder.ledger().string(), fmt::join(differences, ", ")))
      .hint("the hardware, the data files or the program changed since; the ledger holds the earlier record");
}

Digest RunHistory::root() const {
  return last_root_ ? *last_root_ : compute_root();
}

Digest RunHistory::compute_root() const {
  return state_.root_of(state_leaves(state_.owned, pool_));
}

void RunHistory::begin_save(bool wait) {
  saver_->begin({.step = position_.step,
                 .updates = position_.updates,
                 .position = position_.position,
                 .tokens = position_.tokens,
                 .tensor_grains = args_.tensor_grains,
                 .contract = contract_,
                 .kernel_set = args_.kernel_set},
                last_root_, wait);
}

// The root stands in the ledger before the checkpoint can be found: a crash between the two loses nothing.
void RunHistory::announce(const CheckpointInfo& info) {
  ledger_->append_event("checkpoint", checkpoint_details({.step = info.step, .state_root = info.state_root}));
  sync_ledger();
}

std::optional<SavedCheckpoint> RunHistory::advance_save() {
  std::optional<SavedCheckpoint> saved = saver_->advance();
  if (!saved) return saved;
  saved_step_ = saved->step;
  if (saved->step == position_.step) last_root_ = saved->root;
  return saved;
}

SavedCheckpoint RunHistory::finish_save() {
  while (true) {
    if (const auto saved = advance_save()) return *saved;
  }
}

}  // namespace baekji
