#include <cstring>

#include "parallel/communicator.h"

namespace baekji {
namespace {

class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::unique_ptr<Communicator> split(int /*color*/, int /*key*/) override { return make_self_communicator(); }

  void all_reduce(const Tensor& values, ReduceOp op) override { check_op(values, op); }
  void reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op) override {
    check_op(input, op);
    copy(input, output);
  }
  void all_gather(const Tensor& input, const Tensor& output) override { copy(input, output); }
  void all_to_all(const Tensor& input, const Tensor& output) override { copy(input, output); }
  void broadcast(const Tensor& /*values*/, int root) override { check_peer(root); }
  void send(const Tensor& /*values*/, int to) override { refuse("send", to); }
  void receive(const Tensor& /*values*/, int from) override { refuse("receive", from); }
  void barrier() override {}

 private:
  static void check_op(const Tensor& values, ReduceOp op) {
    const bool integer = values.type() == DType::kInt32 || values.type() == DType::kInt64;
    if (op == ReduceOp::kSumInteger && !integer) {
      throw Error("sums over ranks are integer sums").values("int32 or int64", values.describe());
    }
  }
  static void check_peer(int rank) {
    if (rank != 0) throw Error("no such rank in the group").values("0", fmt::format("{}", rank));
  }
  [[noreturn]] static void refuse(const char* operation, int peer) {
    throw Error(fmt::format("a group of one rank has nobody to {} to", operation))
        .values("another rank", fmt::format("{}", peer));
  }
  static void copy(const Tensor& input, const Tensor& output) {
    require_equal(input.size_bytes(), output.size_bytes(), "a collective's input and output differ in size",
                  output.describe());
    if (input.data() != output.data()) {
      std::memcpy(output.data(), input.data(), static_cast<std::size_t>(input.size_bytes()));
    }
  }
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() {
  return std::make_unique<SelfCommunicator>();
}

}  // namespace baekji
