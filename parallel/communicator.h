#pragma once
// Communicator: ordered collectives of one group of ranks. `self` is the identity, so no layer asks how many ranks
// there are.

#include <cstdint>
#include <memory>

#include "core/tensor.h"

namespace baekji {

/// Reductions that give the same bits in any order: integer sums, and maxima. There is no floating-point sum: sums over
/// ranks go through the grain tree or through fixed point.
enum class ReduceOp : std::uint8_t { kSumInteger, kMax };

/// Calls on one communicator are collective and happen in the same order on every rank. Tensors are contiguous.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Ranks with equal `color` form a new group, ordered by `key`, then by rank.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;

  /// In place. kSumInteger needs int32 or int64; kMax also takes fp32 and fp64.
  virtual void all_reduce(const Tensor& values, ReduceOp op) = 0;
  /// output = this rank's part (of size() equal parts of dim 0) of the reduction of all inputs.
  virtual void reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op) = 0;
  /// output = all inputs in rank order along dim 0; the input may be its own part of the output.
  virtual void all_gather(const Tensor& input, const Tensor& output) = 0;
  /// Part r of input goes to rank r; part r of output comes from rank r (equal parts of dim 0).
  virtual void all_to_all(const Tensor& input, const Tensor& output) = 0;
  virtual void broadcast(const Tensor& values, int root) = 0;
  virtual void send(const Tensor& values, int to) = 0;
  virtual void receive(const Tensor& values, int from) = 0;
  virtual void barrier() = 0;
};

/// The group of one rank.
std::unique_ptr<Communicator> make_self_communicator();

}  // namespace baekji
