#include "parallel/call_record.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace baekji {
namespace {

struct WorldSplit {
  std::int64_t color = 0;
  std::int64_t key = 0;
  std::string name;
};

// Makes no call: notes how a rank splits the world.
class SplittingCommunicator final : public Communicator {
 public:
  SplittingCommunicator(int rank, int size, std::vector<WorldSplit>* splits)
      : Communicator(rank, size, "world", std::make_shared<CommunicatorWatch>()), splits_(splits) {}

 private:
  int job_rank(int rank) const override { return rank; }
  std::unique_ptr<Communicator> do_split(const CollectiveCall& /*call*/, int color, int key,
                                         const std::string& name) override {
    if (splits_ == nullptr) throw Error("only the world is split").at(name);
    splits_->push_back({color, key, name});
    return std::make_unique<SplittingCommunicator>(0, 1, nullptr);
  }
  void do_all_reduce(const CollectiveCall& call, const Tensor& /*values*/, ReduceOp /*op*/) override { refuse(call); }
  void do_reduce_scatter(const CollectiveCall& call, const Tensor& /*input*/, const Tensor& /*output*/,
                         ReduceOp /*op*/) override {
    refuse(call);
  }
  void do_all_gather(const CollectiveCall& call, const Tensor& /*input*/, const Tensor& /*output*/) override {
    refuse(call);
  }
  void do_all_to_all(const CollectiveCall& call, const Tensor& /*input*/, const Tensor& /*output*/) override {
    refuse(call);
  }
  void do_broadcast(const CollectiveCall& call, const Tensor& /*values*/, int /*root*/) override { refuse(call); }
  void do_start_send(const CollectiveCall& call, const Tensor& /*values*/, int /*to*/) override { refuse(call); }
  void do_finish_sends(std::size_t /*under_way*/) override {}
  void do_receive(const CollectiveCall& call, const Tensor& /*values*/, int /*from*/) override { refuse(call); }
  void do_barrier(const CollectiveCall& call) override { refuse(call); }
  bool takes(Device /*device*/) const override { return true; }

  static void refuse(const CollectiveCall& call) {
    throw Error("a call before the groups are made").at(call.describe());
  }

  std::vector<WorldSplit>* splits_;
};

class RecordingCommunicator final : public Communicator {
 public:
  struct Args {
    const RecordedGroups* groups = nullptr;
    std::int64_t job_rank = 0;
    std::int32_t index = 0;  // of the rank's groups
    CallRecord* record = nullptr;
  };
  explicit RecordingCommunicator(const Args& args)
      : Communicator(membership(args).rank, static_cast<int>(group(args).ranks.size()), group(args).name,
                     std::make_shared<CommunicatorWatch>()),
        args_(args) {}

 private:
  static const RecordedGroups::Membership& membership(const Args& args) {
    return args.groups->memberships(args.job_rank)[static_cast<std::size_t>(args.index)];
  }
  static const RecordedGroups::Group& group(const Args& args) {
    return args.groups->groups()[static_cast<std::size_t>(membership(args).group)];
  }

  int job_rank(int rank) const override { return group(args_).ranks[static_cast<std::size_t>(rank)]; }
  std::unique_ptr<Communicator> do_split(const CollectiveCall& /*call*/, int /*color*/, int /*key*/,
                                         const std::string& /*name*/) override {
    Args next = args_;
    next.index = ++splits_;
    return std::make_unique<RecordingCommunicator>(next);
  }
  void do_all_reduce(const CollectiveCall& call, const Tensor& /*values*/, ReduceOp /*op*/) override { note(call); }
  void do_reduce_scatter(const CollectiveCall& call, const Tensor& /*input*/, const Tensor& /*output*/,
                         ReduceOp /*op*/) override {
    note(call);
  }
  void do_all_gather(const CollectiveCall& call, const Tensor& /*input*/, const Tensor& /*output*/) override {
    note(call);
  }
  void do_all_to_all(const CollectiveCall& call, const Tensor& /*input*/, const Tensor& /*output*/) override {
    note(call);
  }
  void do_broadcast(const CollectiveCall& call, const Tensor& /*values*/, int /*root*/) override { note(call); }
  void do_start_send(const CollectiveCall& call, const Tensor& /*values*/, int /*to*/) override { note(call); }
  void do_finish_sends(std::size_t under_way) override {
    if (size() == 1) return;
    args_.record->push_back(
        {.group = args_.index, .finishes_sends = true, .under_way = static_cast<std::int64_t>(under_way)});
  }
  void do_receive(const CollectiveCall& call, const Tensor& /*values*/, int /*from*/) override { note(call); }
  void do_barrier(const CollectiveCall& call) override { note(call); }
  bool takes(Device /*device*/) const override { return true; }

  // A group of one waits for nobody.
  void note(const CollectiveCall& call) const {
    if (size() > 1) args_.record->push_back({.group = args_.index, .call = call});
  }

  Args args_;
  std::int32_t splits_ = 0;
};

}  // namespace

RecordedGroups::RecordedGroups(std::int64_t ranks, const std::function<void(Communicator& world)>& make_groups)
    : memberships_(static_cast<std::size_t>(ranks)) {
  std::vector<std::vector<WorldSplit>> splits(memberships_.size());
  Group world{.name = "world", .ranks = {}};
  for (std::int32_t rank = 0; rank < narrow<std::int32_t>(ranks); ++rank) {
    SplittingCommunicator splitting(rank, narrow<int>(ranks), &splits[static_cast<std::size_t>(rank)]);
    make_groups(splitting);
    memberships_[static_cast<std::size_t>(rank)].push_back({.group = 0, .rank = rank});
    world.ranks.push_back(rank);
  }
  groups_.push_back(std::move(world));
  const std::size_t count = splits.front().size();
  for (std::size_t rank = 0; rank < splits.size(); ++rank) {
    require_equal(static_cast<std::int64_t>(count), static_cast<std::int64_t>(splits[rank].size()),
                  "every rank takes part in every split of the world", fmt::format("rank {}", rank));
  }
  for (std::size_t split = 0; split < count; ++split) {
    std::map<std::int64_t, std::vector<std::pair<std::int64_t, std::int32_t>>> by_color;  // key and rank
    for (std::size_t rank = 0; rank < splits.size(); ++rank)
      by_color[splits[rank][split].color].emplace_back(splits[rank][split].key, static_cast<std::int32_t>(rank));
    for (auto& [color, members] : by_color) {
      std::sort(members.begin(), members.end());
      Group group{.name = splits[static_cast<std::size_t>(members.front().second)][split].name, .ranks = {}};
      for (const auto& [key, rank] : members) {
        memberships_[static_cast<std::size_t>(rank)].push_back({.group = static_cast<std::int32_t>(groups_.size()),
                                                                .rank = static_cast<std::int32_t>(group.ranks.size())});
        group.ranks.push_back(rank);
      }
      groups_.push_back(std::move(group));
    }
  }
}

std::unique_ptr<Communicator> RecordedGroups::world(std::int64_t rank, CallRecord& record) const {
  return std::make_unique<RecordingCommunicator>(
      RecordingCommunicator::Args{.groups = this, .job_rank = rank, .index = 0, .record = &record});
}

}  // namespace baekji
