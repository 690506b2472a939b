#pragma once
// Grains: which slices and token grains a rank holds, and the one way in which sums over slices are made.

#include <cstdint>
#include <span>

#include "core/arena.h"
#include "core/tensor.h"
#include "kernels/kernels.h"
#include "parallel/communicator.h"
#include "parallel/numerics.h"

namespace baekji {

/// The slices of the tensor axis. Slices and token grains are dealt out in order: rank r of t holds G / t of each.
class GrainMap {
 public:
  /// Throws when `degree` does not divide `grains`.
  GrainMap(std::int64_t grains, std::int64_t degree, std::int64_t rank);

  std::int64_t grains() const { return grains_; }
  std::int64_t count() const { return grains_ / degree_; }  ///< slices (and token grains) on this rank
  std::int64_t first() const { return rank_ * count(); }
  std::int64_t degree() const { return degree_; }

  /// Rows of this rank's token grains among `tokens` rows.
  std::int64_t local_tokens(std::int64_t tokens) const { return tokens / degree_; }
  std::int64_t first_token(std::int64_t tokens) const { return rank_ * local_tokens(tokens); }
  /// Rows of one token grain.
  std::int64_t grain_tokens(std::int64_t tokens) const { return tokens / grains_; }

 private:
  std::int64_t grains_;
  std::int64_t degree_;
  std::int64_t rank_;
};

/// Sums over slices by the balanced binary tree of the numerics contract, and the token exchange of sequence
/// parallelism. A rank holds neighbouring slices, so the tree over its own is a subtree of the whole: ranks exchange
/// the roots of those and add them in the same order as one rank would.
class GrainTree {
 public:
  /// `tensor_group` and `kernels` outlive it. To measure memory any group will do: binding exchanges nothing.
  GrainTree(Kernels& kernels, Communicator& tensor_group, GrainMap map);

  struct Shape {
    ElementTypes types;
    std::int64_t tokens = 0;   ///< rows of the leaves of reduce()
    std::int64_t columns = 0;  ///< of those leaves, at most
    std::int64_t chunk = 0;    ///< values that one add_over_ranks() takes, at most
  };
  /// Takes the memory that exchanges between ranks need from `arena`, in place of what it was bound to before.
  void bind(const Shape& shape, Arena& arena);

  const GrainMap& map() const { return map_; }

  struct ReduceArgs {
    std::span<const Tensor> leaves_NC;  ///< one per local slice, all tokens
    Tensor out_NC;                      ///< this rank's token grains; may be a leaf when there is one
    Tensor residual_NC;                 ///< undefined: none
    double scale = 1.0;
  };
  /// out = round(scale * tree(all leaves of the group)[this rank's tokens] [+ residual]).
  void reduce(const ReduceArgs& args);

  /// Completes `full` (all tokens) from every rank's own token grains, which already stand in their place in it.
  void gather_tokens(const Tensor& full_NC);

  /// values = the tree over the ranks' values, on every rank: a sum over slices whose subtrees the ranks have summed.
  void add_over_ranks(const Tensor& values_N1);
  /// values = the largest of the ranks' values, on every rank.
  void largest_over_ranks(const Tensor& values);

 private:
  Kernels& kernels_;
  Communicator& group_;
  GrainMap map_;
  Tensor subtree_NC_;    // all tokens, accumulator type: the sum over several local slices
  Tensor exchanged_NC_;  // this rank's tokens from every rank, in rank order
  Tensor values_RN_;     // one row of values from every rank
};

}  // namespace baekji
