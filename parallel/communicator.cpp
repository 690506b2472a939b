#include "parallel/communicator.h"

namespace baekji {

std::string_view name_of(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return "all_reduce";
    case CollectiveKind::kReduceScatter:
      return "reduce_scatter";
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kAllToAll:
      return "all_to_all";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kSend:
      return "send";
    case CollectiveKind::kReceive:
      return "receive";
    case CollectiveKind::kBarrier:
      return "barrier";
    case CollectiveKind::kSplit:
      return "split";
  }
  return "?";
}

std::string CollectiveCall::describe() const {
  std::string text = fmt::format("{} {}", name_of(kind), sequence);
  if (kind != CollectiveKind::kBarrier && kind != CollectiveKind::kSplit) {
    text += fmt::format(" of {} {}", count, name_of(type));
  }
  if (kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduceScatter) {
    text += detail == static_cast<int>(ReduceOp::kMax) ? " (max)" : " (sum)";
  }
  if (kind == CollectiveKind::kBroadcast) text += fmt::format(" from number {} of the group", detail);
  return text;
}

Communicator::Communicator(int rank, int size, std::string name, std::shared_ptr<CommunicatorWatch> watch)
    : rank_(rank), size_(size), name_(std::move(name)), watch_(std::move(watch)) {}

std::string CommunicatorWatch::who(std::int64_t job_rank) const {
  return rank_name ? rank_name(job_rank) : fmt::format("rank {}", job_rank);
}

std::string Communicator::who(int rank) const {
  return watch_->who(job_rank(rank));
}

std::string Communicator::place() const {
  return fmt::format("{}, {} group, step {}", who(rank_), name_, watch_->step.load());
}

CollectiveCall Communicator::begin(CollectiveKind kind, const Tensor& values, int detail, std::int64_t sent_bytes) {
  ++traffic_.calls;
  traffic_.sent_bytes += sent_bytes;
  return {.kind = kind,
          .sequence = sequence_++,
          .type = values.type(),
          .count = values.defined() ? values.size() : 0,
          .detail = detail};
}

void Communicator::check_contiguous(const Tensor& values, CollectiveKind kind) const {
  if (values.contiguous()) return;
  throw Error("a collective needs contiguous tensors")
      .values("contiguous", values.describe() + " with gaps")
      .at(fmt::format("{}, {}", name_of(kind), place()));
}

void Communicator::check_reduction(const Tensor& values, ReduceOp op, CollectiveKind kind) const {
  const DType type = values.type();
  const bool integer = type == DType::kInt32 || type == DType::kInt64;
  if (integer || (op == ReduceOp::kMax && (type == DType::kFloat32 || type == DType::kFloat64))) return;
  throw Error("this reduction over ranks would depend on their order")
      .values(op == ReduceOp::kSumInteger ? "int32 or int64" : "int32, int64, fp32 or fp64", values.describe())
      .at(fmt::format("{}, {}", name_of(kind), place()));
}

void Communicator::check_parts(const Tensor& whole, const Tensor& part, CollectiveKind kind) const {
  if (whole.type() == part.type() && whole.size() == part.size() * size_) return;
  throw Error("the larger tensor of a collective must hold one part for each rank")
      .values(fmt::format("{} times {}", size_, part.describe()), whole.describe())
      .at(fmt::format("{}, {}", name_of(kind), place()));
}

void Communicator::check_places(const Tensor& input, const Tensor& output, CollectiveKind kind) const {
  if (input.device() == output.device()) return;
  throw Error("input and output of a collective must be in one place")
      .values(input.describe(), output.describe())
      .at(fmt::format("{}, {}", name_of(kind), place()));
}

void Communicator::check_peer(int peer, CollectiveKind kind) const {
  const bool itself = (kind == CollectiveKind::kSend || kind == CollectiveKind::kReceive) && peer == rank_;
  if (peer >= 0 && peer < size_ && !itself) return;
  throw Error("no such rank to talk to in the group")
      .values(fmt::format("0..{}{}", size_ - 1, kind == CollectiveKind::kBroadcast ? "" : ", another than itself"),
              fmt::format("{}", peer))
      .at(fmt::format("{}, {}", name_of(kind), place()));
}

std::unique_ptr<Communicator> Communicator::split(int color, int key, const std::string& name) {
  return do_split(begin(CollectiveKind::kSplit, {}, 0, 0), color, key, name);
}

void Communicator::bring_back(const CollectiveCall& call, const Tensor& copy, const Tensor& original) {
  wait_at_home(call);
  DeviceStaging::copy(copy, original);
}

void Communicator::all_reduce(const Tensor& values, ReduceOp op) {
  constexpr auto kKind = CollectiveKind::kAllReduce;
  check_contiguous(values, kKind);
  check_reduction(values, op, kKind);
  // Reduce-scatter, then all-gather, of 1/n each.
  const std::int64_t sent = 2 * (size_ - 1) * values.size_bytes() / size_;
  const CollectiveCall call = begin(kKind, values, static_cast<int>(op), sent);
  if (!is_staged(values)) return do_all_reduce(call, values, op);
  const Tensor copy = staging_.input(values, home());
  do_all_reduce(call, copy, op);
  bring_back(call, copy, values);
}

void Communicator::reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op) {
  constexpr auto kKind = CollectiveKind::kReduceScatter;
  check_contiguous(input, kKind);
  check_contiguous(output, kKind);
  check_reduction(input, op, kKind);
  check_parts(input, output, kKind);
  check_places(input, output, kKind);
  const CollectiveCall call = begin(kKind, input, static_cast<int>(op), (size_ - 1) * output.size_bytes());
  if (!is_staged(input)) return do_reduce_scatter(call, input, output, op);
  const Tensor result = staging_.output(output, home());
  do_reduce_scatter(call, staging_.input(input, home()), result, op);
  bring_back(call, result, output);
}

void Communicator::all_gather(const Tensor& input, const Tensor& output) {
  constexpr auto kKind = CollectiveKind::kAllGather;
  check_contiguous(input, kKind);
  check_contiguous(output, kKind);
  check_parts(output, input, kKind);
  check_places(input, output, kKind);
  const CollectiveCall call = begin(kKind, input, 0, (size_ - 1) * input.size_bytes());
  if (!is_staged(input)) return do_all_gather(call, input, output);
  const Tensor all = staging_.output(output, home());
  const Tensor own = all.rows(rank_ * input.size(), input.size());
  DeviceStaging::copy(input, own);
  do_all_gather(call, own, all);
  bring_back(call, all, output);
}

void Communicator::all_to_all(const Tensor& input, const Tensor& output) {
  constexpr auto kKind = CollectiveKind::kAllToAll;
  check_contiguous(input, kKind);
  check_contiguous(output, kKind);
  check_places(input, output, kKind);
  if (input.size() % size_ != 0 || input.type() != output.type() || input.size() != output.size()) {
    throw Error("all_to_all needs an input and an output of one size, in equal parts")
        .values(fmt::format("a multiple of {} elements, twice", size_), input.describe() + " and " + output.describe())
        .at(place());
  }
  const CollectiveCall call = begin(kKind, input, 0, (size_ - 1) * input.size_bytes() / size_);
  if (!is_staged(input)) return do_all_to_all(call, input, output);
  const Tensor result = staging_.output(output, home());
  do_all_to_all(call, staging_.input(input, home()), result);
  bring_back(call, result, output);
}

void Communicator::broadcast(const Tensor& values, int root) {
  constexpr auto kKind = CollectiveKind::kBroadcast;
  check_contiguous(values, kKind);
  check_peer(root, kKind);
  const std::int64_t sent = rank_ == root ? (size_ - 1) * values.size_bytes() : 0;
  const CollectiveCall call = begin(kKind, values, root, sent);
  if (!is_staged(values)) return do_broadcast(call, values, root);
  const Tensor copy = rank_ == root ? staging_.input(values, home()) : staging_.output(values, home());
  do_broadcast(call, copy, root);
  if (rank_ != root) bring_back(call, copy, values);
}

void Communicator::start_send(const Tensor& values, int to) {
  constexpr auto kKind = CollectiveKind::kSend;
  check_contiguous(values, kKind);
  check_peer(to, kKind);
  const CollectiveCall call = begin(kKind, values, to, values.size_bytes());
  if (is_staged(values)) return do_start_send(call, staging_.sending(values, home()), to);
  staging_.sending_itself();
  do_start_send(call, values, to);
}

void Communicator::finish_sends(std::size_t under_way) {
  do_finish_sends(under_way);
  staging_.sends_finished(under_way);
}

void Communicator::send(const Tensor& values, int to) {
  start_send(values, to);
  finish_sends();
}

void Communicator::receive(const Tensor& values, int from) {
  constexpr auto kKind = CollectiveKind::kReceive;
  check_contiguous(values, kKind);
  check_peer(from, kKind);
  const CollectiveCall call = begin(kKind, values, from, 0);
  if (!is_staged(values)) return do_receive(call, values, from);
  const Tensor copy = staging_.output(values, home());
  do_receive(call, copy, from);
  bring_back(call, copy, values);
}

void Communicator::barrier() {
  do_barrier(begin(CollectiveKind::kBarrier, {}, 0, 0));
}

template <class Call>
Communicator::Ticket Communicator::deferred(const Call& call) {
  begin_deferring();
  call();
  return end_deferring();
}

Communicator::Ticket Communicator::start_all_reduce(const Tensor& values, ReduceOp op) {
  return deferred([&] { all_reduce(values, op); });
}

Communicator::Ticket Communicator::start_reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op) {
  return deferred([&] { reduce_scatter(input, output, op); });
}

Communicator::Ticket Communicator::start_all_gather(const Tensor& input, const Tensor& output) {
  return deferred([&] { all_gather(input, output); });
}

}  // namespace baekji
