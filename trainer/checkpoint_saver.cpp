#include "trainer/checkpoint_saver.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "parallel/gather_text.h"

namespace baekji {
namespace {

class Stopwatch {
 public:
  double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

CheckpointSaver::CheckpointSaver(Args args, Communicator& world, ThreadPool& pool)
    : args_(std::move(args)), world_(world), pool_(pool) {
  if (args_.beside_training) snapshot_.emplace(args_.owned, pool_);
}

// Writers are the ranks that own something, numbered in rank order; -1 is none. No rank returns before rank 0 came, so
// what it did before is there.
std::int64_t CheckpointSaver::writer_number() {
  std::vector<std::int32_t> owns(static_cast<std::size_t>(world_.size()));
  std::int32_t mine = args_.owned.empty() ? 0 : 1;
  world_.all_gather(Tensor(&mine, DType::kInt32, {1}), Tensor(owns.data(), DType::kInt32, {world_.size()}));
  return mine == 0 ? -1 : std::count(owns.begin(), owns.begin() + world_.rank(), 1);
}

void CheckpointSaver::begin(const CheckpointInfo& info, const std::optional<Digest>& root, bool wait) {
  if (under_way())
    throw Error("a save begins after the one before it").values("none under way", fmt::format("step {}", info_.step));
  const Stopwatch watch;
  info_ = info;
  root_ = root;
  wait_ = wait || !snapshot_;
  stalled_ms_ = written_ms_ = 0;
  leaves_.clear();
  record_.clear();
  if (leads()) args_.store.begin(info_.step);
  const std::int64_t writer = writer_number();
  phase_ = Phase::kShards;
  if (writer >= 0) {
    if (!wait_) snapshot_->take(pool_);
    const auto shards = wait_ ? std::span<const StateShard>(args_.owned) : snapshot_->shards();
    run([this, shards, writer](const std::stop_token& stop) { write_shard(shards, writer, stop); });
  }
  stall(watch.ms());
}

void CheckpointSaver::run(const BackgroundJob::Job& work) {
  const auto timed = [this, work](const std::stop_token& stop) {
    const Stopwatch watch;
    work(stop);
    written_ms_ += watch.ms();
  };
  if (wait_)
    job_.run_here(timed);
  else
    job_.start(timed);
}

void CheckpointSaver::write_shard(std::span<const StateShard> shards, std::int64_t writer,
                                  const std::stop_token& stop) {
  for (std::size_t i = 0; i < shards.size() && !root_; ++i) {
    give_up_if_asked(stop, args_.store.path_of(info_.step).string());
    const std::vector<StateLeaf> some = state_leaves(shards.subspan(i, 1), wait_ ? pool_ : alone_);
    leaves_.insert(leaves_.end(), some.begin(), some.end());
  }
  record_ = encode_shard_record(args_.store.write_shard(info_.step, writer, shards, stop));
}

std::optional<SavedCheckpoint> CheckpointSaver::advance() {
  const Stopwatch watch;
  try {
    job_.wait();
    if (phase_ == Phase::kShards) {
      commit();
      stall(watch.ms());
      return std::nullopt;
    }
    stall(watch.ms());
    return complete();
  } catch (...) {
    phase_ = Phase::kNone;
    if (world_.size() == 1) args_.store.abandon(info_.step);  // with more ranks, others may still write there
    throw;
  }
}

void CheckpointSaver::commit() {
  std::vector<ShardRecord> records;
  for (const std::string& text : gather_text(world_, record_)) {
    if (!text.empty()) records.push_back(decode_shard_record(text));
  }
  info_.state_root = root_ ? *root_ : args_.root_of(leaves_);
  phase_ = Phase::kCommit;
  if (!leads()) return;
  args_.announce(info_);
  run([this, records = std::move(records)](const std::stop_token&) {
    args_.store.commit(info_, records);
    args_.store.prune(args_.keep, args_.anchor_every);
  });
}

void CheckpointSaver::stall(double ms) {
  stalled_ms_ += ms;
  all_stalls_ms_ += ms;
}

SavedCheckpoint CheckpointSaver::complete() {
  std::array<double, 2> slowest{stalled_ms_, written_ms_};
  // Rank 0 comes when it has committed: nobody returns, and reads or trains towards the next save, before.
  world_.all_reduce(Tensor(slowest.data(), DType::kFloat64, {std::ssize(slowest)}), ReduceOp::kMax);
  phase_ = Phase::kNone;
  return {.step = info_.step,
          .root = info_.state_root,
          .path = args_.store.path_of(info_.step),
          .stalled_ms = slowest[0],
          .written_ms = slowest[1]};
}

}  // namespace baekji
