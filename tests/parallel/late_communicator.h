#pragma once
// LateCommunicator: makes every call that is begun early as late as it may, when it is finished or another call of the
// group follows. Whoever uses a result too soon, or what is being sent, computes other bits with it.

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "parallel/communicator.h"

namespace baekji {

class LateCommunicator final : public Communicator {
 public:
  /// `inner` outlives it. `most_under_way` (may be null) becomes the most calls that were begun and not finished.
  LateCommunicator(Communicator& inner, std::size_t* most_under_way)
      : Communicator(inner.rank(), inner.size(), "late", std::make_shared<CommunicatorWatch>()),
        inner_(inner),
        most_under_way_(most_under_way) {}

  void abandon_sends() noexcept override { inner_.abandon_sends(); }

 private:
  LateCommunicator(std::unique_ptr<Communicator> inner, std::size_t* most_under_way)
      : LateCommunicator(*inner, most_under_way) {
    owned_ = std::move(inner);
  }

  int job_rank(int rank) const override { return rank; }
  std::unique_ptr<Communicator> do_split(const CollectiveCall& /*call*/, int color, int key,
                                         const std::string& name) override {
    return std::unique_ptr<Communicator>(new LateCommunicator(inner_.split(color, key, name), most_under_way_));
  }
  void do_all_reduce(const CollectiveCall& /*call*/, const Tensor& values, ReduceOp op) override {
    call([this, values, op] { inner_.all_reduce(values, op); });
  }
  void do_reduce_scatter(const CollectiveCall& /*call*/, const Tensor& input, const Tensor& output,
                         ReduceOp op) override {
    call([this, input, output, op] { inner_.reduce_scatter(input, output, op); });
  }
  void do_all_gather(const CollectiveCall& /*call*/, const Tensor& input, const Tensor& output) override {
    call([this, input, output] { inner_.all_gather(input, output); });
  }
  void do_all_to_all(const CollectiveCall& /*call*/, const Tensor& input, const Tensor& output) override {
    call([this, input, output] { inner_.all_to_all(input, output); });
  }
  void do_broadcast(const CollectiveCall& /*call*/, const Tensor& values, int root) override {
    call([this, values, root] { inner_.broadcast(values, root); });
  }
  void do_start_send(const CollectiveCall& /*call*/, const Tensor& values, int to) override {
    call([this, values, to] { inner_.start_send(values, to); });
  }
  void do_finish_sends(std::size_t under_way) override { inner_.finish_sends(under_way); }
  void do_receive(const CollectiveCall& /*call*/, const Tensor& values, int from) override {
    call([this, values, from] { inner_.receive(values, from); });
  }
  void do_barrier(const CollectiveCall& /*call*/) override {
    call([this] { inner_.barrier(); });
  }
  void begin_deferring() override { deferring_ = true; }
  Ticket end_deferring() override {
    deferring_ = false;
    return begun_;
  }
  void do_finish(Ticket ticket) override {
    if (ticket <= finished_) throw Error("a ticket came twice, or not in the order in which it was given out");
    finished_ = ticket;
    make_until(ticket);
  }

  void call(std::function<void()> make) {
    if (!deferring_) {
      make_until(begun_);
      return make();
    }
    ++begun_;
    waiting_.push_back(std::move(make));
    if (most_under_way_ != nullptr)
      *most_under_way_ = std::max(*most_under_way_, static_cast<std::size_t>(begun_ - finished_));
  }
  void make_until(Ticket ticket) {
    for (; made_ < ticket; ++made_) {
      waiting_.front()();
      waiting_.pop_front();
    }
  }

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  std::size_t* most_under_way_;
  std::deque<std::function<void()>> waiting_;
  bool deferring_ = false;
  Ticket begun_ = 0;
  Ticket made_ = 0;
  Ticket finished_ = 0;
};

}  // namespace baekji
