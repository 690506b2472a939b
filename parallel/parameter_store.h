#pragma once
// ParameterStore: holds a rank's slices of every parameter and its gradient sums, and hides from layers how they are
// kept.

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "kernels/kernels.h"
#include "parallel/communicator.h"
#include "parallel/numerics.h"
#include "parallel/parameter_slice.h"

namespace baekji {

class ShardExchange;
struct ChunkRange;

class ParameterStore {
 public:
  struct Args {
    std::vector<ParameterGroup> groups;
    ElementTypes types;
    std::int64_t replicas = 1;     ///< of the whole job
    std::int64_t first_slice = 0;  ///< slices of the tensor axis that this rank holds
    std::int64_t slice_count = 1;
    std::vector<HeldGroup> held;  ///< empty: all of the model, as one stage
    /// What data ranks divide among themselves, by chunk: 0 nothing, 1 the optimizer's state, 2 also sums of gradients,
    /// 3 also weights, which gather() then brings.
    std::int64_t zero = 0;
    std::int64_t tensor_ranks = 1;
    std::int64_t data_ranks = 1;
    std::int64_t data_rank = 0;
    /// The rank's groups along the axes; null to measure memory, or for one rank.
    Communicator* data = nullptr;
    Communicator* tensor = nullptr;
    Communicator* tied = nullptr;  ///< the pipeline ranks that hold a tied table
    bool training = true;          ///< false: weights only, for inference
  };
  /// Binds all memory to `arena`; weights are zero until written through owned().
  ParameterStore(Args args, Kernels& kernels, Arena& arena);
  ~ParameterStore();

  const ParameterGroup& group(GroupId id) const { return groups_[id]; }
  std::size_t group_count() const { return groups_.size(); }
  /// Local slices of a group; 1 when it is not split, 0 when another rank holds it.
  std::int64_t slice_count(GroupId id) const { return static_cast<std::int64_t>(storage_[id].weight.size()); }

  /// The weights of a unit are there on return: with zero = 3 until another one is gathered. Collective on the data
  /// group.
  void gather(std::int64_t unit);
  bool gathers_weights() const { return shards_weights(); }
  /// The weight of local slice `slice` (0 for an unsplit group): [sum of member rows, columns], compute type; [columns]
  /// for one-dim parameters.
  const Tensor& weight(GroupId id, std::int64_t slice) const { return storage_[id].weight[index(slice)]; }
  /// The gradient sum of one contribution, same shape, accumulator type; layers *accumulate* into it.
  const Tensor& gradient(GroupId id, std::int64_t slice, std::int64_t contribution) const {
    return storage_[id].gradient[index(contribution - storage_[id].held.first_contribution)][index(slice)];
  }

  /// Starts a step: sets the fixed-point unit from the tokens of the global batch, and forgets the sums.
  void begin_step(std::int64_t global_tokens);
  /// Zeroes the gradient sums that a stage makes in a phase.
  void begin_replica(std::int64_t stage, GradientPhase phase);
  /// Before the pass that ends a replica in a stage: units that are summed from here on need not wait for the others.
  void expect_end(const ReplicaEnd& end) { ending(end.phase) = end; }
  /// The pass adds no more to the gradients of a unit (and of those above it, in the stage that it runs). In a pass
  /// that ends a replica they are added to the fixed-point sums, and begin to travel to the other data ranks:
  /// collective.
  void unit_summed(std::int64_t unit, GradientPhase phase);
  /// The same for all that is left in the stage. A value that is not finite or out of range marks the step void.
  void end_replica(const ReplicaEnd& end);
  /// Completes the fixed-point sums of what this rank owns: those of all data ranks, of the tensor ranks for what they
  /// all hold, and of the other rank with a tied table. The integers are the same for any number of ranks. Collective
  /// on all three groups.
  void reduce();

  /// The first parameter (by name) in which this rank found an invalid gradient since begin_step; empty: none. Waits
  /// for the device.
  std::string invalid_parameter() const;
  /// 2^(ceil(log2 tokens) - 50), the fixed-point unit, as an exponent, and the bound of each contribution in units.
  int unit_exponent() const { return unit_exponent_; }
  double contribution_limit(const ParameterSlice& slice) const;

  /// Every member slice that this rank holds, sorted by (name, slice).
  std::span<const ParameterSlice> slices() const { return slices_; }
  /// What this rank updates, sorted by (name, slice, begin): the order of hashing and of the gradient norm. Data ranks
  /// divide it with zero > 0, and all update everything without.
  std::span<const ParameterSlice> owned() const { return owned_; }
  /// Call when the optimizer has updated what is owned: the weights begin to travel to all data ranks, where gather()
  /// waits for them. Collective on the data group.
  void weights_updated();
  /// Writes the compute-type weights from the master weights first (after genesis or a load).
  void publish_weights();

 private:
  struct Storage {
    HeldGroup held;
    std::vector<Tensor> weight;                 // by slice
    std::vector<Tensor> master;                 // by slice; none where ranks divide it
    std::vector<std::vector<Tensor>> gradient;  // by contribution, slice
    std::vector<Tensor> partial;                // by slice; none where ranks divide it
  };
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
  bool sharded() const { return args_.training && args_.zero > 0 && args_.data_ranks > 1; }
  bool shards_sums() const { return sharded() && args_.zero >= 2; }
  bool shards_weights() const { return sharded() && args_.zero >= 3; }
  void bind_unit(Arena& arena);
  void bind_group(const ParameterGroup& group, Storage& storage, Arena& arena);
  Tensor bind_weight(const ParameterGroup& group, Arena& arena);
  void bind_exchange(Arena& arena);
  void list_slices();
  std::optional<ReplicaEnd>& ending(GradientPhase phase) { return ending_[static_cast<std::size_t>(phase)]; }
  void add_replica(const ReplicaEnd& end, std::int64_t unit);
  void add_whole_sums(const ReplicaEnd& end, std::int64_t unit, bool first);
  void add_to_sums(const ChunkRange& range, const Tensor& sums, bool overwrite);
  void finish_whole_sums();

  Args args_;
  std::vector<ParameterGroup> groups_;
  std::vector<Storage> storage_;
  std::vector<ParameterSlice> slices_;
  std::vector<ParameterSlice> owned_;
  Kernels& kernels_;
  std::unique_ptr<ShardExchange> exchange_;          // when data ranks divide anything
  Tensor unit_;                                      // zero = 3: the weights of one unit
  std::map<std::int64_t, std::int64_t> unit_bytes_;  // by unit: taken of it while groups are bound
  Tensor unusable_;                                  // int32 by slice: 1 where a gradient was found invalid
  std::vector<std::array<bool, kGradientPhases.size()>> summed_;  // by stage, phase: a replica of this step is in
  std::array<std::optional<ReplicaEnd>, kGradientPhases.size()> ending_;  // by phase: in the pass that runs
  std::vector<bool> added_;                                               // by group: the replica that is ending
  std::deque<Communicator::Ticket> under_way_;                            // whole sums on their way
  int unit_exponent_ = -40;
};

}  // namespace baekji
