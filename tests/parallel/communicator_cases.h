#pragma once
// Every collective against what it must give, for any communicator and for tensors anywhere: called on each rank of a
// group.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"
#include "parallel/communicator.h"

namespace baekji::cases {

/// Fails on any rank alike: the cases also run where GoogleTest's macros must not be used, on threads of a group.
inline void expect(bool ok, const std::string& what) {
  if (!ok) throw Error("a collective gave something else").at(what);
}

inline std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

template <class T>
T value(int rank, std::int64_t i) {
  const std::int64_t x = (i * 7919 + rank * 104729) % 100003 - 50000;
  return static_cast<T>(x);
}

template <class T>
std::vector<T> filled(int rank, std::int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = value<T>(rank, i);
  return values;
}

template <class T>
Tensor tensor_of(std::vector<T>& values) {
  return {values.data(), dtype_of<T>(), {static_cast<std::int64_t>(values.size())}};
}

/// Numbers that a collective reads or writes, in memory of a device.
template <class T>
class Values {
 public:
  Values(std::vector<T> values, Device device) : values_(std::move(values)), device_(device) {
    if (device.is_host()) return;
    memory_ = allocate_memory(device, size_bytes());
    copy_memory({memory_, device_}, {values_.data(), {}}, size_bytes());
  }
  /// Zeros.
  Values(Device device, std::int64_t count) : Values(std::vector<T>(static_cast<std::size_t>(count)), device) {}
  ~Values() {
    if (memory_ != nullptr) free_memory(device_, memory_, size_bytes());
  }
  Values(Values&& other) noexcept
      : values_(std::move(other.values_)), device_(other.device_), memory_(std::exchange(other.memory_, nullptr)) {}
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  Values& operator=(Values&&) = delete;

  Tensor tensor() {
    void* const data = memory_ == nullptr ? values_.data() : memory_;
    return {data, dtype_of<T>(), {std::ssize(values_)}, device_};
  }
  /// What they are now.
  const std::vector<T>& read() {
    if (memory_ != nullptr) copy_memory({values_.data(), {}}, {memory_, device_}, size_bytes());
    return values_;
  }

 private:
  std::int64_t size_bytes() const { return std::ssize(values_) * static_cast<std::int64_t>(sizeof(T)); }
  std::vector<T> values_;
  Device device_;
  void* memory_ = nullptr;
};

template <class T>
T reduced(int ranks, std::int64_t i, ReduceOp op) {
  T result = value<T>(0, i);
  for (int r = 1; r < ranks; ++r) {
    const T x = value<T>(r, i);
    result = op == ReduceOp::kSumInteger ? result + x : (x > result ? x : result);
  }
  return result;
}

template <class T>
void check_reductions(Communicator& group, ReduceOp op, std::int64_t count, Device device = {}) {
  const std::string what = fmt::format("{} {} x {}", name_of(dtype_of<T>()), group.size(), count);
  const auto at = [](const std::vector<T>& values, std::int64_t i) { return values[static_cast<std::size_t>(i)]; };
  Values<T> all(filled<T>(group.rank(), count), device);
  group.all_reduce(all.tensor(), op);
  const std::vector<T> whole = all.read();
  for (std::int64_t i = 0; i < count; ++i)
    expect(at(whole, i) == reduced<T>(group.size(), i, op), "all_reduce " + what);
  Values<T> input(filled<T>(group.rank(), count * group.size()), device);
  Values<T> output(device, count);
  group.reduce_scatter(input.tensor(), output.tensor(), op);
  const auto scattered = [&](std::int64_t i) { return reduced<T>(group.size(), group.rank() * count + i, op); };
  const std::vector<T> apart = output.read();
  for (std::int64_t i = 0; i < count; ++i) expect(at(apart, i) == scattered(i), "reduce_scatter " + what);
  expect(input.read() == filled<T>(group.rank(), count * group.size()), "reduce_scatter leaves its input " + what);
  group.reduce_scatter(input.tensor(), input.tensor().rows(group.rank() * count, count), op);
  const std::vector<T> in_place = input.read();
  for (std::int64_t i = 0; i < count; ++i)
    expect(at(in_place, group.rank() * count + i) == scattered(i), "reduce_scatter in place " + what);
}

template <class T>
void check_moves(Communicator& group, std::int64_t count, Device device = {}) {
  const std::string what = fmt::format("{} {} x {}", name_of(dtype_of<T>()), group.size(), count);
  Values<T> mine(filled<T>(group.rank(), count), device);
  Values<T> all(device, count * group.size());
  const auto gathered = [&](const std::vector<T>& from) {
    for (std::int64_t i = 0; i < count * group.size(); ++i) {
      if (from[static_cast<std::size_t>(i)] != value<T>(static_cast<int>(i / count), i % count)) return false;
    }
    return true;
  };
  group.all_gather(mine.tensor(), all.tensor());
  expect(gathered(all.read()), "all_gather " + what);
  std::vector<T> own(static_cast<std::size_t>(count * group.size()));
  std::copy_n(mine.read().begin(), count, own.begin() + group.rank() * count);
  Values<T> place(own, device);
  group.all_gather(place.tensor().rows(group.rank() * count, count), place.tensor());
  expect(gathered(place.read()), "all_gather in place " + what);

  Values<T> input(filled<T>(group.rank(), count * group.size()), device);
  group.all_to_all(input.tensor(), all.tensor());
  const std::vector<T> dealt = all.read();
  for (std::int64_t i = 0; i < count * group.size(); ++i) {
    const T wanted = value<T>(static_cast<int>(i / count), group.rank() * count + i % count);
    expect(dealt[static_cast<std::size_t>(i)] == wanted, "all_to_all " + what);
  }
  for (int root = 0; root < group.size(); ++root) {
    Values<T> values(filled<T>(group.rank(), count), device);
    group.broadcast(values.tensor(), root);
    expect(values.read() == filled<T>(root, count), "broadcast " + what);
  }
  if (group.size() == 1) return;
  // Around the ring, even ranks sending first: with rendezvous semantics all at once would never end.
  const int next = (group.rank() + 1) % group.size();
  const int before = (group.rank() + group.size() - 1) % group.size();
  Values<T> received(device, count);
  const bool first = group.rank() % 2 == 0 && next != 0;
  if (first) group.send(mine.tensor(), next);
  group.receive(received.tensor(), before);
  if (!first) group.send(mine.tensor(), next);
  expect(received.read() == filled<T>(before, count), "send and receive " + what);
}

template <class T>
void check_special_values(Communicator& group, Device device = {}) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const T infinity = std::numeric_limits<T>::infinity();
  const bool last = group.rank() == group.size() - 1;
  Values<T> values({last ? -nan : T{1}, last ? T{0} : -T{0}, -infinity, last ? infinity : -nan, -T{0}}, device);
  group.all_reduce(values.tensor(), ReduceOp::kMax);
  const std::vector<T> came = values.read();
  expect(std::isnan(came[0]), "a NaN is the largest");
  expect(came[1] == 0 && !std::signbit(came[1]), "+0 is larger than -0");
  expect(came[2] == -infinity, "-inf");
  expect(group.size() == 1 || std::isnan(came[3]), "a NaN is larger than inf");
  expect(came[4] == 0 && std::signbit(came[4]), "-0 stays");
}

inline void check_wrapping(Communicator& group, Device device = {}) {
  Values<std::int64_t> wraps({std::numeric_limits<std::int64_t>::max()}, device);
  group.all_reduce(wraps.tensor(), ReduceOp::kSumInteger);
  const auto one = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  expect(wraps.read()[0] == static_cast<std::int64_t>(one * static_cast<std::uint64_t>(group.size())), "sums wrap");
}

/// Each rank begins several sends to the next one before it receives those of the rank before: nobody may wait for
/// ever, and they come in order.
inline void check_sends(Communicator& group, Device device = {}) {
  if (group.size() == 1) return;
  constexpr std::int64_t kSends = 5;
  const int next = (group.rank() + 1) % group.size();
  const int before = (group.rank() + group.size() - 1) % group.size();
  const auto sent_by = [](int rank, std::int64_t n) {
    return filled<float>(rank + 10 * static_cast<int>(n), 50000 * n + 3);
  };
  // All memory first, and read at the end: a plain copy of a device's memory waits for all that the device was given,
  // and so for sends.
  std::vector<Values<float>> values;
  std::vector<Values<float>> came;
  for (std::int64_t n = 0; n < kSends; ++n) {
    values.emplace_back(sent_by(group.rank(), n), device);
    came.emplace_back(device, 50000 * n + 3);
  }
  for (Values<float>& v : values) group.start_send(v.tensor(), next);
  for (std::int64_t n = 0; n < kSends; ++n) {
    group.receive(came[static_cast<std::size_t>(n)].tensor(), before);
    if (n == 2) group.finish_sends(kSends - 1);
  }
  group.finish_sends();
  for (std::int64_t n = 0; n < kSends; ++n)
    expect(came[static_cast<std::size_t>(n)].read() == sent_by(before, n), "sends come in order");
}

/// The same one way, as on an edge of the pipeline: for back ends whose receives come after the sends that the rank has
/// begun in the group.
inline void check_sends_one_way(Communicator& group, Device device = {}) {
  if (group.size() == 1) return;
  constexpr std::int64_t kSends = 5;
  const auto sent = [](std::int64_t n) { return filled<float>(10 * static_cast<int>(n), 50000 * n + 3); };
  std::vector<Values<float>> values;
  for (std::int64_t n = 0; n < kSends; ++n) {
    if (group.rank() == 0)
      values.emplace_back(sent(n), device);
    else
      values.emplace_back(device, 50000 * n + 3);
  }
  for (std::int64_t n = 0; n < kSends && group.rank() < 2; ++n) {
    const Tensor tensor = values[static_cast<std::size_t>(n)].tensor();
    if (group.rank() == 0)
      group.start_send(tensor, 1);
    else
      group.receive(tensor, 0);
    if (n == 3) group.finish_sends(2);
  }
  group.finish_sends();
  for (std::int64_t n = 0; n < kSends && group.rank() == 1; ++n)
    expect(values[static_cast<std::size_t>(n)].read() == sent(n), "sends come in order");
}

/// Calls that are begun and finished later, two at a time.
inline void check_deferred(Communicator& group, Device device = {}) {
  constexpr std::int64_t kCount = 321;
  const int n = group.size();
  Values<std::int64_t> mine(filled<std::int64_t>(group.rank(), kCount), device);
  Values<std::int64_t> all(device, kCount * n);
  Values<std::int64_t> parts(filled<std::int64_t>(group.rank(), kCount * n), device);
  Values<std::int64_t> part(device, kCount);
  Values<std::int64_t> sum(filled<std::int64_t>(group.rank(), kCount), device);
  const auto gather = group.start_all_gather(mine.tensor(), all.tensor());
  const auto scatter = group.start_reduce_scatter(parts.tensor(), part.tensor(), ReduceOp::kSumInteger);
  group.finish(gather);
  const auto reduce = group.start_all_reduce(sum.tensor(), ReduceOp::kSumInteger);
  group.finish(scatter);
  group.finish(reduce);
  const std::vector<std::int64_t> gathered = all.read();
  const std::vector<std::int64_t> scattered = part.read();
  const std::vector<std::int64_t> reduced_all = sum.read();
  for (std::int64_t i = 0; i < kCount; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const auto summed = [&](std::int64_t j) { return reduced<std::int64_t>(n, j, ReduceOp::kSumInteger); };
    expect(gathered[at] == value<std::int64_t>(0, i), "all_gather, finished later");
    expect(scattered[at] == summed(group.rank() * kCount + i), "reduce_scatter, finished later");
    expect(reduced_all[at] == summed(i), "all_reduce, finished later");
  }
}

inline void check_traffic(Communicator& group, Device device = {}) {
  const std::int64_t n = group.size();
  const std::int64_t before = group.traffic().sent_bytes;
  Values<std::int64_t> values(device, 24 * n);
  Values<std::int64_t> part(device, 24);
  group.all_reduce(values.tensor(), ReduceOp::kSumInteger);
  group.reduce_scatter(values.tensor(), part.tensor(), ReduceOp::kSumInteger);
  group.all_gather(part.tensor(), values.tensor());
  const std::int64_t share = 24 * 8 * (n - 1);
  expect(group.traffic().sent_bytes - before == 4 * share, "bytes sent are counted, and once");
}

/// Splits into the ranks that agree in `rank / width`, in reverse order, and checks who is where.
inline void check_split(Communicator& group, int width, Device device = {}) {
  const int color = group.rank() / width;
  const auto part = group.split(color, -group.rank(), "part");
  const int members = std::min(width, group.size() - color * width);
  expect(part->size() == members, "split: size");
  expect(part->rank() == members - 1 - group.rank() % width, "split: order by key");
  Values<std::int64_t> who({group.rank()}, device);
  Values<std::int64_t> all(device, members);
  part->all_gather(who.tensor(), all.tensor());
  const std::vector<std::int64_t> came = all.read();
  for (int i = 0; i < members; ++i)
    expect(came[static_cast<std::size_t>(i)] == color * width + members - 1 - i, "split: members");
  check_moves<std::int32_t>(*part, 33, device);
  check_reductions<std::int64_t>(*part, ReduceOp::kSumInteger, 17, device);
}

/// `both_ways`: ranks may begin to send to each other in one group.
inline void check_everything(Communicator& group, Device device = {}, bool both_ways = true) {
  for (const std::int64_t count : {1, 7, 1000, 20011}) {
    check_reductions<std::int64_t>(group, ReduceOp::kSumInteger, count, device);
    check_reductions<std::int32_t>(group, ReduceOp::kSumInteger, count, device);
    check_reductions<std::int64_t>(group, ReduceOp::kMax, count, device);
    check_reductions<float>(group, ReduceOp::kMax, count, device);
    check_reductions<double>(group, ReduceOp::kMax, count, device);
    check_moves<float>(group, count, device);
    check_moves<std::int64_t>(group, count, device);
  }
  check_special_values<float>(group, device);
  check_special_values<double>(group, device);
  check_wrapping(group, device);
  if (both_ways) check_sends(group, device);
  check_sends_one_way(*group.split(0, group.rank(), "edge"), device);
  check_deferred(group, device);
  check_traffic(group, device);
  check_split(group, 1, device);
  check_split(group, 2, device);
  check_split(group, 3, device);
  group.barrier();
}

}  // namespace baekji::cases
