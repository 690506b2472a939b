#pragma once
// ShardExchange: what data ranks divide among themselves by chunk (ZeRO, Rajbhandari et al. 2020), and the buckets in
// which sums of gradients go to their owners and weights come back.

#include <compare>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/arena.h"
#include "kernels/kernels.h"
#include "parallel/chunk_partition.h"
#include "parallel/communicator.h"
#include "parallel/numerics.h"
#include "parallel/parameter_slice.h"

namespace baekji {

/// Slices with one key share buckets, in the order of their keys.
struct BucketKey {
  std::int64_t stage = 0;
  GradientPhase phase = GradientPhase::kInput;
  bool tied = false;  ///< the two ranks with a tied table must divide it alike
  std::int64_t unit = 0;
  auto operator<=>(const BucketKey&) const = default;
};

class ShardExchange {
 public:
  struct Args {
    std::span<const ParameterSlice> slices;  ///< outlive the exchange
    std::vector<BucketKey> keys;             ///< by slice
    std::int64_t zero = 1;
    std::int64_t ranks = 1;
    std::int64_t rank = 0;
    Communicator* data = nullptr;  ///< null to measure memory
    ElementTypes types;
  };
  ShardExchange(const Args& args, Kernels& kernels, Arena& arena);

  /// The parts of slices that this rank updates, sorted as the slices are.
  const std::vector<ParameterSlice>& owned() const { return owned_; }

  /// Writes (or adds, unless `overwrite`) the fixed-point sums of elements [range.begin, range.begin + range.count) of
  /// range.slice.
  using Convert = std::function<void(const ChunkRange& range, const Tensor& sums, bool overwrite)>;
  /// zero >= 2: adds a replica of every rank to the sums of their owners; `first` forgets what they were. Without
  /// `convert` this rank adds nothing. Collective.
  void add_replica(std::int64_t stage, GradientPhase phase, bool first, const Convert& convert);
  /// zero = 1: the sums of all ranks, from every rank's own. Collective.
  void reduce();
  /// zero < 3: brings the owners' weights to all. Collective.
  void share_weights();
  /// zero = 3: brings a unit's weights, unless they are the last that came. Collective.
  void gather(std::int64_t unit);
  /// The weights that came are stale.
  void release() { gathered_ = kNone; }

 private:
  static constexpr std::int64_t kNone = -1;
  struct Shard {
    BucketKey key;
    Bucket bucket;
    Tensor sums;                  // zero >= 2: int64, this rank's part
    std::vector<Tensor> masters;  // by range: fp32, where owned
  };
  Tensor whole(const Shard& shard, DType type) const;
  Tensor part_of(const Shard& shard, const Tensor& whole, std::int64_t rank) const;
  Tensor place_of(const Shard& shard, const Tensor& whole, const ChunkRange& range) const;
  const ParameterSlice& slice_of(const ChunkRange& range) const { return args_.slices[range.slice]; }
  bool owns(const ChunkRange& range) const { return range.owner == args_.rank; }
  void make_shards();
  void bind(Shard& shard, Arena& arena);
  void list_owned();

  Args args_;
  Kernels& kernels_;
  std::vector<Shard> shards_;  // by key, then in the order of slices
  std::vector<ParameterSlice> owned_;
  Tensor buffer_;  // int64: a whole bucket
  std::int64_t gathered_ = kNone;
};

}  // namespace baekji
