#pragma once
// ShardExchange: what data ranks divide among themselves by chunk (ZeRO, Rajbhandari et al. 2020), and the buckets in
// which sums of gradients go to their owners and weights come back.

#include <cstddef>
#include <cstdint>
#include <deque>
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

/// Which buckets a slice may be in: those of its stage and phase, apart where a tied table must be divided alike by the
/// two ranks that hold it. Inside them slices stand as a backward pass completes them, the highest unit first.
struct BucketKey {
  std::int64_t stage = 0;
  GradientPhase phase = GradientPhase::kInput;
  bool tied = false;
  std::int64_t unit = 0;
};

/// A call is begun as soon as what it sends is there and ended when somebody needs its result, so that it travels
/// beside the passes where the communicator can do that (`nccl`).
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
  /// Adds the replica's sums in every bucket whose units are all down to `unit`, and begins to send them to their
  /// owners: with zero = 1 those of all replicas once, at the last one, with zero >= 2 those of each. `first`: forgets
  /// what the sums were. Collective.
  void add_replica(const ReplicaEnd& end, std::int64_t unit, bool first, const Convert& convert);
  /// The next add_replica() of the stage and phase is another replica's.
  void end_replica(const ReplicaEnd& end);
  /// Returns when the sums of what this rank owns are there.
  void finish_sums();
  /// zero < 3: begins to bring the owners' weights to all. Collective.
  void share_weights();
  /// The unit's weights are there on return: with zero = 3 they come now, unless they are the last that came; otherwise
  /// they have been on their way since share_weights(). Collective.
  void gather(std::int64_t unit);
  /// zero = 3: the weights that came are stale.
  void release() { gathered_ = kNone; }

 private:
  static constexpr std::int64_t kNone = -1;
  // zero >= 2: whole buckets of sums that travel at once.
  static constexpr std::int64_t kBuffers = 2;
  struct Shard {
    BucketKey key;  // with its lowest unit: the one that is summed last, and needed first
    Bucket bucket;
    Tensor sums;                  // int64: the whole bucket with zero = 1, this rank's part otherwise
    std::vector<Tensor> masters;  // by range: fp32, where owned
    bool added = false;           // the replica that is ending
  };
  struct Departure {
    Communicator::Ticket ticket = 0;
    const Shard* shard = nullptr;
  };
  // Weights on their way.
  struct Arrival {
    Communicator::Ticket ticket = 0;
    const Shard* shard = nullptr;
    Tensor whole;
  };
  Tensor buffer(const Shard& shard, DType type, std::int64_t place) const;
  Tensor staging(const Shard& shard, std::size_t turn) const;
  std::size_t arrivals_at_once() const;
  void begin_sharing(std::size_t turn);
  void arrive(std::int64_t unit);
  void bring(std::int64_t unit);
  void convert(const Shard& shard, const Tensor& whole, bool first, const Convert& convert) const;
  void finish_first();
  void make_room(const Shard& shard);
  Tensor part_of(const Shard& shard, const Tensor& whole, std::int64_t rank) const;
  Tensor place_of(const Shard& shard, const Tensor& whole, const ChunkRange& range) const;
  const ParameterSlice& slice_of(const ChunkRange& range) const { return args_.slices[range.slice]; }
  bool owns(const ChunkRange& range) const { return range.owner == args_.rank; }
  void make_shards();
  void bind(Shard& shard, Arena& arena);
  void list_owned();

  Args args_;
  Kernels& kernels_;
  std::vector<Shard> shards_;  // by stage and phase, then as a backward pass completes them
  std::vector<ParameterSlice> owned_;
  std::int64_t part_elements_ = 0;  // of the largest bucket
  Tensor buffers_;                  // zero >= 2: int64, kBuffers whole buckets
  std::int64_t next_buffer_ = 0;
  std::deque<Departure> departed_;     // sums on their way
  std::vector<const Shard*> sharing_;  // in the order in which a forward pass needs them
  std::size_t shared_ = 0;             // of them have been begun
  std::deque<Arrival> arriving_;
  std::int64_t gathered_ = kNone;
};

}  // namespace baekji
