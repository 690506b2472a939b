#include "trainer/run_history.h"

#include <nlohmann/json.hpp>

#include "proof/contract.h"
#include "proof/genesis.h"
#include "proof/state_root.h"

namespace baekji {

RunHistory::RunHistory(Args args, std::span<const StateShard> shards, ThreadPool& pool)
    : args_(std::move(args)),
      lock_(args_.folder.root),
      shards_(shards),
      pool_(pool),
      checkpoints_(args_.folder.checkpoints()),
      contract_(contract_digest(args_.contract)) {
  if (posix_file_system().exists(args_.folder.ledger()))
    resume();
  else
    start();
}

void RunHistory::start() {
  FileSystem& files = posix_file_system();
  if (files.exists(args_.folder.checkpoints()) && !checkpoints_.list().empty()) {
    throw Error("the run folder has checkpoints but no ledger")
        .values("ledger.jsonl beside checkpoints/", "checkpoints only")
        .at(args_.folder.root.string())
        .hint("a state without its history is not trusted: restore the ledger, or use another run.output");
  }
  files.create_directories(args_.folder.checkpoints());
  fill_genesis(shards_, static_cast<std::uint64_t>(args_.seed), pool_);
  files.write(args_.folder.contract(), args_.contract);
  last_root_ = state_root(shards_, pool_);
  ledger_ = Ledger::create(args_.folder.ledger(),
                           {.contract = contract_, .state_root = *last_root_, .kernel_set = args_.kernel_set});
}

void RunHistory::check_same_run(const GenesisRecord& genesis) const {
  if (genesis.contract != contract_) {
    throw Error("the run folder holds another experiment")
        .values("contract " + to_hex(genesis.contract), "contract " + to_hex(contract_))
        .at(args_.folder.root.string())
        .hint("set run.output to a new folder, or restore the keys that experiment.toml there has");
  }
}

void RunHistory::resume() {
  ledger_ = Ledger::open(args_.folder.ledger());
  check_same_run(ledger_->genesis());
  const std::vector<std::string> differences = kernel_set_differences(ledger_->genesis().kernel_set, args_.kernel_set);
  if (!differences.empty() && !args_.accept_kernel_set) {
    throw Error("the run was computed by another kernel set: going on would change its bits")
        .values("kernel set " + to_hex(kernel_set_digest(ledger_->genesis().kernel_set)),
                fmt::format("{}", fmt::join(differences, "; ")))
        .at(args_.folder.root.string())
        .hint("--accept-kernel-set goes on and records the change in the ledger");
  }
  const std::int64_t torn_bytes = ledger_->torn_bytes();
  for (const std::string& name : checkpoints_.remove_leftovers())
    args_.warn("removed an unfinished checkpoint: " + name);
  auto newest = checkpoints_.newest_good(pool_, [&](const CheckpointInfo& info) -> std::string {
    if (info.contract != contract_) return "its contract is not this run's";
    if (!ledger_->state_root_known(info.state_root)) return "its state root is not in this run's ledger";
    return {};
  });
  for (const std::string& problem : newest.problems) args_.warn(problem);
  if (newest.checkpoint) {
    const CheckpointInfo& info = newest.checkpoint->info();
    newest.checkpoint->load(shards_);
    check_loaded_state(info, shards_, pool_);
    last_root_ = info.state_root;
    position_ = {.step = info.step, .updates = info.updates, .position = info.position, .tokens = info.tokens};
    saved_step_ = info.step;
  } else {
    fill_genesis(shards_, static_cast<std::uint64_t>(args_.seed), pool_);
    last_root_ = state_root(shards_, pool_);
    require_equal(to_hex(ledger_->genesis().state_root), to_hex(*last_root_), "step 0 does not regenerate",
                  args_.folder.root.string());
  }
  resumed_ = true;
  nlohmann::json details = {{"step", position_.step}, {"kernel_set", to_hex(kernel_set_digest(args_.kernel_set))}};
  if (torn_bytes > 0) details["torn_bytes"] = torn_bytes;
  if (!newest.problems.empty()) details["problems"] = newest.problems;
  if (!differences.empty()) details["kernel_set_differences"] = differences;
  ledger_->append_event("resume", details);
  ledger_->sync();
}

void RunHistory::record(StepRecord record, bool with_root) {
  last_root_.reset();
  if (with_root) record.state_root = last_root_ = state_root(shards_, pool_);
  position_ = {.step = record.step, .updates = record.updates, .position = record.position, .tokens = record.tokens};
  if (record.step > ledger_->last_step()) {
    ledger_->append(record);
    return;
  }
  const auto before = ledger_->find_step(record.step);
  const auto differences = step_differences(before.value(), step_body(record));
  if (differences.empty()) return;
  ledger_->append_event("divergence", {{"step", record.step}, {"members", differences}});
  ledger_->sync();
  throw Error(fmt::format("step {} was trained before, and gives another record now", record.step))
      .values(before->dump(), step_body(record).dump())
      .at(fmt::format("{} ({})", args_.folder.ledger().string(), fmt::join(differences, ", ")))
      .hint("the hardware, the data files or the program changed since; the ledger holds the earlier record");
}

void RunHistory::record_event(std::string_view name, const nlohmann::json& details) {
  ledger_->append_event(name, details);
}

Digest RunHistory::root() const {
  return last_root_ ? *last_root_ : state_root(shards_, pool_);
}

std::filesystem::path RunHistory::save() {
  const Digest root = this->root();
  last_root_ = root;
  const CheckpointInfo info{.step = position_.step,
                            .updates = position_.updates,
                            .position = position_.position,
                            .tokens = position_.tokens,
                            .tensor_grains = args_.tensor_grains,
                            .contract = contract_,
                            .state_root = root,
                            .kernel_set = args_.kernel_set};
  // The root stands in the ledger before the checkpoint can be found: a crash between the two loses nothing.
  ledger_->append_event("checkpoint", {{"step", info.step}, {"state_root", to_hex(root)}});
  ledger_->sync();
  const Checkpoint checkpoint = checkpoints_.save(info, shards_);
  saved_step_ = position_.step;
  checkpoints_.prune(args_.keep, args_.anchor_every);
  return checkpoint.path();
}

}  // namespace baekji
