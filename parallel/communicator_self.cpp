#include "parallel/communicator.h"

namespace baekji {
namespace {

class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(std::shared_ptr<CommunicatorWatch> watch) : Communicator(0, 1, "self", std::move(watch)) {}

 private:
  int job_rank(int rank) const override { return rank; }
  std::unique_ptr<Communicator> do_split(const CollectiveCall& /*call*/, int /*color*/, int /*key*/,
                                         const std::string& /*name*/) override {
    return std::make_unique<SelfCommunicator>(watch());
  }
  void do_all_reduce(const CollectiveCall& /*call*/, const Tensor& /*values*/, ReduceOp /*op*/) override {}
  void do_reduce_scatter(const CollectiveCall& /*call*/, const Tensor& input, const Tensor& output,
                         ReduceOp /*op*/) override {
    copy(input, output);
  }
  void do_all_gather(const CollectiveCall& /*call*/, const Tensor& input, const Tensor& output) override {
    copy(input, output);
  }
  void do_all_to_all(const CollectiveCall& /*call*/, const Tensor& input, const Tensor& output) override {
    copy(input, output);
  }
  void do_broadcast(const CollectiveCall& /*call*/, const Tensor& /*values*/, int /*root*/) override {}
  // A group of one has no peers: the base class refuses every one.
  void do_start_send(const CollectiveCall& /*call*/, const Tensor& /*values*/, int /*to*/) override {}
  void do_finish_sends(std::size_t /*under_way*/) override {}
  void do_receive(const CollectiveCall& /*call*/, const Tensor& /*values*/, int /*from*/) override {}
  void do_barrier(const CollectiveCall& /*call*/) override {}
  bool takes(Device /*device*/) const override { return true; }

  static void copy(const Tensor& input, const Tensor& output) { DeviceStaging::copy(input, output); }
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() {
  return std::make_unique<SelfCommunicator>(std::make_shared<CommunicatorWatch>());
}

}  // namespace baekji
