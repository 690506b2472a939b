#pragma once
// Every collective against what it must give, for any communicator: called on each rank of a group.

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace baekji::cases {

/// Fails on any rank alike: the cases also run where GoogleTest's macros must not be used, on threads of a group.
inline void expect(bool ok, const std::string& what) {
  if (!ok) throw Error("a collective gave something else").at(what);
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
void check_reductions(Communicator& group, ReduceOp op, std::int64_t count) {
  const std::string what = fmt::format("{} {} x {}", name_of(dtype_of<T>()), group.size(), count);
  std::vector<T> all = filled<T>(group.rank(), count);
  group.all_reduce(tensor_of(all), op);
  for (std::int64_t i = 0; i < count; ++i) {
    expect(all[static_cast<std::size_t>(i)] == reduced<T>(group.size(), i, op), "all_reduce " + what);
  }
  std::vector<T> input = filled<T>(group.rank(), count * group.size());
  std::vector<T> output(static_cast<std::size_t>(count));
  group.reduce_scatter(tensor_of(input), tensor_of(output), op);
  const auto scattered = [&](std::int64_t i) { return reduced<T>(group.size(), group.rank() * count + i, op); };
  for (std::int64_t i = 0; i < count; ++i)
    expect(output[static_cast<std::size_t>(i)] == scattered(i), "reduce_scatter " + what);
  const Tensor own = tensor_of(input).rows(group.rank() * count, count);
  group.reduce_scatter(tensor_of(input), own, op);
  for (std::int64_t i = 0; i < count; ++i) {
    expect(input[static_cast<std::size_t>(group.rank() * count + i)] == scattered(i),
           "reduce_scatter in place " + what);
  }
}

template <class T>
void check_moves(Communicator& group, std::int64_t count) {
  const std::string what = fmt::format("{} {} x {}", name_of(dtype_of<T>()), group.size(), count);
  std::vector<T> mine = filled<T>(group.rank(), count);
  std::vector<T> all(static_cast<std::size_t>(count * group.size()));
  const auto gathered = [&](const std::vector<T>& from) {
    for (std::int64_t i = 0; i < count * group.size(); ++i) {
      if (from[static_cast<std::size_t>(i)] != value<T>(static_cast<int>(i / count), i % count)) return false;
    }
    return true;
  };
  group.all_gather(tensor_of(mine), tensor_of(all));
  expect(gathered(all), "all_gather " + what);
  std::vector<T> place(all.size());
  std::copy(mine.begin(), mine.end(), place.begin() + group.rank() * count);
  group.all_gather(tensor_of(place).rows(group.rank() * count, count), tensor_of(place));
  expect(gathered(place), "all_gather in place " + what);

  std::vector<T> input = filled<T>(group.rank(), count * group.size());
  group.all_to_all(tensor_of(input), tensor_of(all));
  for (std::int64_t i = 0; i < count * group.size(); ++i) {
    const T wanted = value<T>(static_cast<int>(i / count), group.rank() * count + i % count);
    expect(all[static_cast<std::size_t>(i)] == wanted, "all_to_all " + what);
  }
  for (int root = 0; root < group.size(); ++root) {
    std::vector<T> values = filled<T>(group.rank(), count);
    group.broadcast(tensor_of(values), root);
    expect(values == filled<T>(root, count), "broadcast " + what);
  }
  if (group.size() == 1) return;
  // Around the ring, even ranks sending first: with rendezvous semantics all at once would never end.
  const int next = (group.rank() + 1) % group.size();
  const int before = (group.rank() + group.size() - 1) % group.size();
  std::vector<T> received(static_cast<std::size_t>(count));
  const bool first = group.rank() % 2 == 0 && next != 0;
  if (first) group.send(tensor_of(mine), next);
  group.receive(tensor_of(received), before);
  if (!first) group.send(tensor_of(mine), next);
  expect(received == filled<T>(before, count), "send and receive " + what);
}

inline void check_special_values(Communicator& group) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const bool last = group.rank() == group.size() - 1;
  std::vector<float> values{last ? nan : 1.0F, last ? 0.0F : -0.0F, -std::numeric_limits<float>::infinity()};
  group.all_reduce(tensor_of(values), ReduceOp::kMax);
  expect(std::isnan(values[0]), "a NaN is the largest");
  expect(values[1] == 0.0F && !std::signbit(values[1]), "+0 is larger than -0");
  expect(values[2] == -std::numeric_limits<float>::infinity(), "-inf");
  std::vector<std::int64_t> wraps{std::numeric_limits<std::int64_t>::max()};
  group.all_reduce(tensor_of(wraps), ReduceOp::kSumInteger);
  const auto one = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  expect(wraps[0] == static_cast<std::int64_t>(one * static_cast<std::uint64_t>(group.size())), "sums wrap");
}

/// Each rank begins several sends to the next one before it receives those of the rank before: nobody may wait for
/// ever, and they come in order.
inline void check_sends(Communicator& group) {
  if (group.size() == 1) return;
  constexpr std::int64_t kSends = 5;
  const int next = (group.rank() + 1) % group.size();
  const int before = (group.rank() + group.size() - 1) % group.size();
  std::vector<std::vector<float>> values;
  for (std::int64_t n = 0; n < kSends; ++n)
    values.push_back(filled<float>(group.rank() + 10 * static_cast<int>(n), 50000 * n + 3));
  for (std::vector<float>& v : values) group.start_send(tensor_of(v), next);
  for (std::int64_t n = 0; n < kSends; ++n) {
    std::vector<float> came(static_cast<std::size_t>(50000 * n + 3));
    group.receive(tensor_of(came), before);
    expect(came == filled<float>(before + 10 * static_cast<int>(n), 50000 * n + 3), "sends come in order");
    if (n == 2) group.finish_sends(kSends - 1);
  }
  group.finish_sends();
}

inline void check_traffic(Communicator& group) {
  const std::int64_t n = group.size();
  const std::int64_t before = group.traffic().sent_bytes;
  std::vector<std::int64_t> values(static_cast<std::size_t>(24 * n));
  std::vector<std::int64_t> part(24);
  group.all_reduce(tensor_of(values), ReduceOp::kSumInteger);
  group.reduce_scatter(tensor_of(values), tensor_of(part), ReduceOp::kSumInteger);
  group.all_gather(tensor_of(part), tensor_of(values));
  const std::int64_t share = 24 * 8 * (n - 1);
  expect(group.traffic().sent_bytes - before == 4 * share, "bytes sent are counted");
}

/// Splits into the ranks that agree in `rank / width`, in reverse order, and checks who is where.
inline void check_split(Communicator& group, int width) {
  const int color = group.rank() / width;
  const auto part = group.split(color, -group.rank(), "part");
  const int members = std::min(width, group.size() - color * width);
  expect(part->size() == members, "split: size");
  expect(part->rank() == members - 1 - group.rank() % width, "split: order by key");
  std::vector<std::int64_t> who{group.rank()};
  std::vector<std::int64_t> all(static_cast<std::size_t>(members));
  part->all_gather(tensor_of(who), tensor_of(all));
  for (int i = 0; i < members; ++i)
    expect(all[static_cast<std::size_t>(i)] == color * width + members - 1 - i, "split: members");
  check_moves<std::int32_t>(*part, 33);
  check_reductions<std::int64_t>(*part, ReduceOp::kSumInteger, 17);
}

inline void check_everything(Communicator& group) {
  for (const std::int64_t count : {1, 7, 1000, 20011}) {
    check_reductions<std::int64_t>(group, ReduceOp::kSumInteger, count);
    check_reductions<std::int32_t>(group, ReduceOp::kSumInteger, count);
    check_reductions<std::int64_t>(group, ReduceOp::kMax, count);
    check_reductions<float>(group, ReduceOp::kMax, count);
    check_reductions<double>(group, ReduceOp::kMax, count);
    check_moves<float>(group, count);
    check_moves<std::int64_t>(group, count);
  }
  check_special_values(group);
  check_sends(group);
  check_traffic(group);
  check_split(group, 1);
  check_split(group, 2);
  check_split(group, 3);
  group.barrier();
}

}  // namespace baekji::cases
