#pragma once
// ParameterStore: holds a rank's slices of every parameter and its gradient sums, and hides from layers how they are
// kept.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/logical_tensor.h"
#include "kernels/kernels.h"
#include "parallel/communicator.h"
#include "parallel/numerics.h"

namespace baekji {

/// A parameter as the model declares it.
struct ParameterSpec {
  LogicalTensor logical;
  Initialisation initialisation;
  bool decay = true;  ///< AdamW weight decay applies
};

/// Parameters whose slices stand one after another in memory, so that one matrix multiplication serves them all (q, k,
/// v; gate, up). Members of a group of several are split by rows and agree in columns and slices. A member's slice
/// begins at a multiple of kAlignmentBytes only if the sizes before it are; its place never depends on the layout.
struct ParameterGroup {
  std::vector<ParameterSpec> members;
  /// fp32 gradient sums per slice, because several grains (or uses) contribute: design, section 4.
  std::int64_t contributions = 1;
};

using GroupId = std::size_t;

/// One member's slice as the optimizer sees it; flat tensors of the slice's elements.
struct ParameterSlice {
  const ParameterSpec* spec = nullptr;
  std::int64_t slice = 0;
  Tensor weight;                      ///< compute type; the same memory as master in fp32
  Tensor master;                      ///< fp32
  std::vector<Tensor> contributions;  ///< fp32 gradient sums of the running replica
  Tensor partial;                     ///< int64 fixed-point sum; undefined where one rank's contributions are all
};

class ParameterStore {
 public:
  struct Args {
    std::vector<ParameterGroup> groups;
    ElementTypes types;
    std::int64_t replicas = 1;  ///< of the whole job
    std::int64_t tensor_ranks = 1;
    std::int64_t first_slice = 0;  ///< slices of the tensor axis that this rank holds
    std::int64_t slice_count = 1;
    bool training = true;  ///< false: weights only, for inference
  };
  /// Binds all memory to `arena`; weights are zero until written through slices().
  ParameterStore(Args args, Kernels& kernels, Arena& arena);

  const ParameterGroup& group(GroupId id) const { return groups_[id]; }
  std::size_t group_count() const { return groups_.size(); }
  /// Local slices of a group; 1 when it is not split.
  std::int64_t slice_count(GroupId id) const { return static_cast<std::int64_t>(storage_[id].weight.size()); }

  /// The weight of local slice `slice` (0 for an unsplit group): [sum of member rows, columns], compute type; [columns]
  /// for one-dim parameters.
  const Tensor& weight(GroupId id, std::int64_t slice) const { return storage_[id].weight[index(slice)]; }
  /// The gradient sum of one contribution, same shape, accumulator type; layers *accumulate* into it.
  const Tensor& gradient(GroupId id, std::int64_t slice, std::int64_t contribution) const {
    return storage_[id].gradient[index(contribution)][index(slice)];
  }

  /// Zeroes the gradient sums (and, at the first replica of a step, forgets the fixed-point sums).
  void begin_replica();
  /// Adds the gradient sums to the fixed-point sums. A value that is not finite or out of range marks the step void.
  void end_replica();
  /// Completes the fixed-point sums: those of all data ranks, and of the tensor ranks for what they all hold. The
  /// integers are the same for any number of ranks. Collective on both groups.
  void reduce(Communicator& data, Communicator& tensor);
  /// Starts a step: sets the fixed-point unit from the tokens of the global batch.
  void begin_step(std::int64_t global_tokens, std::int64_t replicas);

  /// The first parameter (by name) in which this rank found an invalid gradient since begin_step; empty: none.
  const std::string& invalid_parameter() const { return invalid_; }
  /// 2^(ceil(log2 tokens) - 50), the fixed-point unit, as an exponent, and the bound of each contribution in units.
  int unit_exponent() const { return unit_exponent_; }
  double contribution_limit(const ParameterSlice& slice) const;

  /// Every member slice of this rank, sorted by (name, slice): the order of hashing and of the gradient norm.
  std::span<const ParameterSlice> slices() const { return slices_; }
  /// Writes the compute-type weights from the master weights (after genesis or a load).
  void publish_weights();

 private:
  struct Storage {
    std::vector<Tensor> weight;                 // by slice
    std::vector<Tensor> master;                 // by slice
    std::vector<std::vector<Tensor>> gradient;  // by contribution, slice
    std::vector<Tensor> partial;                // by slice
  };
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
  void bind_group(const ParameterGroup& group, Storage& storage, Arena& arena);
  void list_slices();

  Args args_;
  std::vector<ParameterGroup> groups_;
  std::vector<Storage> storage_;
  std::vector<ParameterSlice> slices_;
  Kernels& kernels_;
  std::string invalid_;
  bool first_replica_ = true;
  std::int64_t total_replicas_ = 1;
  int unit_exponent_ = -40;
};

}  // namespace baekji
