#include "parallel/communicator_threads.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "core/float_environment.h"
#include "parallel/collective_errors.h"
#include "parallel/reduction.h"

namespace baekji {
namespace {

// One lock for a job: its groups are small and its tensors are moved outside of it.
struct Job {
  std::mutex mutex;
  std::condition_variable changed;
  std::string failure;  ///< of the rank that failed first; empty while all is well
};

// What the ranks of one group have put down for the others.
class Group {
 public:
  /// `job_ranks`: of its ranks, in order.
  Group(std::shared_ptr<Job> job, std::vector<int> job_ranks)
      : job_(std::move(job)), job_ranks_(std::move(job_ranks)), posts_(job_ranks_.size()), taken_(job_ranks_.size()) {}

  struct Post {
    CollectiveCall call;
    const void* input = nullptr;
    int color = 0;  ///< of a split
    int key = 0;
  };
  int size() const { return static_cast<int>(posts_.size()); }
  int job_rank(int rank) const { return job_ranks_[static_cast<std::size_t>(rank)]; }
  const Post& post(int rank) const { return posts_[static_cast<std::size_t>(rank)]; }

  /// Puts down `post` and waits until every rank has put down its own. Throws when the calls differ.
  void meet(int rank, const Post& post, const CommunicatorWatch& watch, const std::string& place) {
    std::unique_lock lock(job_->mutex);
    posts_[static_cast<std::size_t>(rank)] = post;
    wait_for_all(lock, rank, post.call, watch, place);
    for (int other = 0; other < size(); ++other) {
      if (this->post(other).call == post.call) continue;
      throw different_calls(who(rank, watch), post.call, who(other, watch), this->post(other).call, place);
    }
  }
  /// Waits until every rank has come here: what was put down may be taken away. Those who met come here, whatever fails
  /// elsewhere, so a failure is no reason to leave while others still read.
  void part(int rank, const CollectiveCall& call, const CommunicatorWatch& watch, const std::string& place) {
    std::unique_lock lock(job_->mutex);
    wait_for_all(lock, rank, call, watch, place, true);
  }

  /// The group that a split makes for `color`: the first rank to ask makes it, the last one to ask takes it away.
  std::shared_ptr<Group> child(int color, const std::vector<int>& job_ranks) {
    const std::lock_guard lock(job_->mutex);
    auto& [group, asked] = children_[color];
    if (!group) group = std::make_shared<Group>(job_, job_ranks);
    std::shared_ptr<Group> result = group;
    if (++asked == std::ssize(job_ranks)) children_.erase(color);
    return result;
  }

  void start_send(int from, int to, const CollectiveCall& call, const Tensor& values) {
    const std::lock_guard lock(job_->mutex);
    mail_[{from, to}].push_back({call, values});
    job_->changed.notify_all();
  }

  void finish_sends(int from, std::size_t under_way, const CommunicatorWatch& watch, const std::string& place) {
    std::unique_lock lock(job_->mutex);
    const bool in_time = wait(lock, watch, place, [&] { return waiting(from).count <= under_way; });
    if (in_time) return;
    const Waiting late = waiting(from);
    throw stuck_collective(late.first->call, watch, who(late.to, watch) + " has not received", place);
  }

  void abandon_sends(int from) {
    const std::lock_guard lock(job_->mutex);
    for (auto& [ends, mails] : mail_) {
      if (ends.first == from) mails.clear();
    }
  }

  void receive(int from, int to, const CollectiveCall& call, const Tensor& values, const CommunicatorWatch& watch,
               const std::string& place) {
    std::unique_lock lock(job_->mutex);
    std::deque<Mail>& mails = mail_[{from, to}];
    const bool in_time = wait(lock, watch, place, [&] { return !mails.empty(); });
    if (!in_time) throw stuck_collective(call, watch, who(from, watch) + " has not sent", place);
    const Mail& mail = mails.front();
    if (mail.values.type() != values.type() || mail.values.size() != values.size()) {
      throw different_message(who(to, watch), call, who(from, watch), mail.call, place);
    }
    if (values.size() > 0)
      std::memcpy(values.data(), mail.values.data(), static_cast<std::size_t>(values.size_bytes()));
    mails.pop_front();
    job_->changed.notify_all();
  }

 private:
  struct Mail {
    CollectiveCall call;
    Tensor values;
  };
  struct Child {
    std::shared_ptr<Group> group;
    int asked = 0;
  };

  // A barrier: the last rank to arrive opens it for all.
  void wait_for_all(std::unique_lock<std::mutex>& lock, int rank, const CollectiveCall& call,
                    const CommunicatorWatch& watch, const std::string& place, bool through_failures = false) {
    const std::int64_t round = round_;
    taken_[static_cast<std::size_t>(rank)] = true;
    if (++arrived_ == size()) {
      arrived_ = 0;
      ++round_;
      std::fill(taken_.begin(), taken_.end(), false);
      job_->changed.notify_all();
    }
    const bool in_time = wait(
        lock, watch, place, [&] { return round_ != round; }, through_failures);
    if (!in_time) throw stuck_collective(call, watch, absent(watch), place);
  }

  template <class Condition>
  bool wait(std::unique_lock<std::mutex>& lock, const CommunicatorWatch& watch, const std::string& place,
            const Condition& condition, bool through_failures = false) {
    const auto limit = std::chrono::duration<double>(watch.limit_s);
    job_->changed.wait_for(lock, limit, [&] { return condition() || (!through_failures && !job_->failure.empty()); });
    // First the condition: ranks that have met must all know it, or some would part and the others not.
    if (condition()) return true;
    if (!through_failures && !job_->failure.empty())
      throw Error("another rank failed").values("all ranks well", job_->failure).at(place);
    return false;
  }

  // What a rank has begun to send and nobody has received yet.
  struct Waiting {
    std::size_t count = 0;
    const Mail* first = nullptr;
    int to = 0;
  };
  Waiting waiting(int from) const {
    Waiting result;
    for (const auto& [ends, mails] : mail_) {
      if (ends.first != from || mails.empty()) continue;
      if (result.count == 0) result = {.first = &mails.front(), .to = ends.second};
      result.count += mails.size();
    }
    return result;
  }

  std::string who(int rank, const CommunicatorWatch& watch) const { return watch.who(job_rank(rank)); }
  std::string absent(const CommunicatorWatch& watch) const {
    std::vector<std::string> ranks;
    for (int r = 0; r < size(); ++r) {
      if (!taken_[static_cast<std::size_t>(r)]) ranks.push_back(who(r, watch));
    }
    return fmt::format("not arrived: {}", fmt::join(ranks, ", "));
  }

  std::shared_ptr<Job> job_;
  std::vector<int> job_ranks_;
  std::vector<Post> posts_;
  std::vector<bool> taken_;  // who has arrived in this round
  int arrived_ = 0;
  std::int64_t round_ = 0;
  std::map<int, Child> children_;
  std::map<std::pair<int, int>, std::deque<Mail>> mail_;  // by sender and receiver, in order
};

void copy_bytes(void* to, const void* from, std::int64_t size_bytes) {
  if (to != from && size_bytes > 0) std::memcpy(to, from, static_cast<std::size_t>(size_bytes));
}

class ThreadsCommunicator final : public Communicator {
 public:
  ThreadsCommunicator(std::shared_ptr<Group> group, int rank, std::string name,
                      std::shared_ptr<CommunicatorWatch> watch)
      : Communicator(rank, group->size(), std::move(name), std::move(watch)), group_(std::move(group)) {}

 private:
  int job_rank(int rank) const override { return group_->job_rank(rank); }
  std::unique_ptr<Communicator> do_split(const CollectiveCall& call, int color, int key,
                                         const std::string& name) override {
    meet({.call = call, .color = color, .key = key});
    std::vector<int> members;
    for (int r = 0; r < size(); ++r) {
      if (group_->post(r).color == color) members.push_back(r);
    }
    std::stable_sort(members.begin(), members.end(),
                     [&](int a, int b) { return group_->post(a).key < group_->post(b).key; });
    const auto mine = std::find(members.begin(), members.end(), rank()) - members.begin();
    std::vector<int> job_ranks;
    for (const int member : members) job_ranks.push_back(job_rank(member));
    std::shared_ptr<Group> child = group_->child(color, job_ranks);
    part(call);
    return std::make_unique<ThreadsCommunicator>(std::move(child), static_cast<int>(mine), name, watch());
  }

  // Each rank reduces one share of the elements, then all fetch the shares of the others.
  void do_all_reduce(const CollectiveCall& call, const Tensor& values, ReduceOp op) override {
    meet({.call = call, .input = values.data()});
    const std::int64_t width = size_of(values.type());
    const auto begin = [&](int r) { return values.size() * r / size() * width; };
    reduce(values.type(), op, byte_at(values.data(), begin(rank())), begin(rank()),
           (begin(rank() + 1) - begin(rank())) / width);
    part(call);
    for (int r = 0; r < size(); ++r) {
      copy_bytes(byte_at(values.data(), begin(r)), byte_at(group_->post(r).input, begin(r)), begin(r + 1) - begin(r));
    }
    part(call);
  }

  void do_reduce_scatter(const CollectiveCall& call, const Tensor& input, const Tensor& output, ReduceOp op) override {
    meet({.call = call, .input = input.data()});
    copy_bytes(output.data(), byte_at(input.data(), rank() * output.size_bytes()), output.size_bytes());
    reduce(input.type(), op, output.data(), rank() * output.size_bytes(), output.size());
    part(call);
  }

  void do_all_gather(const CollectiveCall& call, const Tensor& input, const Tensor& output) override {
    meet({.call = call, .input = input.data()});
    for (int r = 0; r < size(); ++r) {
      copy_bytes(byte_at(output.data(), r * input.size_bytes()), group_->post(r).input, input.size_bytes());
    }
    part(call);
  }

  void do_all_to_all(const CollectiveCall& call, const Tensor& input, const Tensor& output) override {
    meet({.call = call, .input = input.data()});
    const std::int64_t part_bytes = input.size_bytes() / size();
    for (int r = 0; r < size(); ++r) {
      copy_bytes(byte_at(output.data(), r * part_bytes), byte_at(group_->post(r).input, rank() * part_bytes),
                 part_bytes);
    }
    part(call);
  }

  void do_broadcast(const CollectiveCall& call, const Tensor& values, int root) override {
    meet({.call = call, .input = values.data()});
    copy_bytes(values.data(), group_->post(root).input, values.size_bytes());
    part(call);
  }

  void do_start_send(const CollectiveCall& call, const Tensor& values, int to) override {
    group_->start_send(rank(), to, call, values);
  }
  void do_finish_sends(std::size_t under_way) override { group_->finish_sends(rank(), under_way, *watch(), place()); }
  void abandon_sends() noexcept override { group_->abandon_sends(rank()); }
  void do_receive(const CollectiveCall& call, const Tensor& values, int from) override {
    group_->receive(from, rank(), call, values, *watch(), place());
  }
  // Parts too: a rank that went on would put down its next call before the others have read this one.
  void do_barrier(const CollectiveCall& call) override {
    meet({.call = call});
    part(call);
  }

  // Folds the other ranks' elements at `offset_bytes` of their inputs into `into`, which holds this rank's own.
  void reduce(DType type, ReduceOp op, void* into, std::int64_t offset_bytes, std::int64_t count) {
    for (int r = 0; r < size(); ++r) {
      if (r != rank()) combine(type, op, into, byte_at(group_->post(r).input, offset_bytes), count);
    }
  }

  void meet(const Group::Post& post) { group_->meet(rank(), post, *watch(), place()); }
  void part(const CollectiveCall& call) { group_->part(rank(), call, *watch(), place()); }

  std::shared_ptr<Group> group_;
};

}  // namespace

void run_as_ranks(int ranks, const std::function<void(Communicator& world)>& body,
                  std::shared_ptr<CommunicatorWatch> watch) {
  if (!watch) watch = std::make_shared<CommunicatorWatch>();
  const auto job = std::make_shared<Job>();
  std::vector<int> all(static_cast<std::size_t>(ranks));
  std::iota(all.begin(), all.end(), 0);
  const auto world = std::make_shared<Group>(job, all);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        set_float_environment();
        ThreadsCommunicator communicator(world, rank, "world", watch);
        body(communicator);
      } catch (const std::exception& error) {
        const std::lock_guard lock(job->mutex);
        if (job->failure.empty()) job->failure = fmt::format("rank {} of {}: {}", rank, ranks, error.what());
        job->changed.notify_all();
      }
    });
  }
  threads.clear();  // joins them
  if (!job->failure.empty()) throw Error(job->failure);
}

}  // namespace baekji
