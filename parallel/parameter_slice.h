#pragma once
// Parameters as the model declares them, and as ranks hold them: pure descriptions and views.

#include <array>
#include <cstdint>
#include <vector>

#include "core/logical_tensor.h"
#include "core/tensor.h"

namespace baekji {

/// A parameter as the model declares it.
struct ParameterSpec {
  LogicalTensor logical;
  Initialisation initialisation;
  bool decay = true;  ///< AdamW weight decay applies
};

/// In which half of a backward pass a gradient is summed: matrices wait for the weight half, gains and tables do not.
enum class GradientPhase : std::uint8_t { kInput, kWeight };
inline constexpr std::array<GradientPhase, 2> kGradientPhases{GradientPhase::kInput, GradientPhase::kWeight};

/// The end of a replica's gradient sums in one stage and phase.
struct ReplicaEnd {
  std::int64_t stage = 0;
  GradientPhase phase = GradientPhase::kInput;
  bool absent = false;  ///< other data ranks have this replica: this one adds nothing, and joins them
  bool last = true;     ///< of the step, among all data ranks
};

/// Parameters whose slices stand one after another in memory, so that one matrix multiplication serves them all (q, k,
/// v; gate, up). Members of a group of several are split by rows and agree in columns and slices. A member's slice
/// begins at a multiple of kAlignmentBytes only if the sizes before it are; its place never depends on the layout.
struct ParameterGroup {
  std::vector<ParameterSpec> members;
  /// fp32 gradient sums per slice, because several grains (or uses) contribute: design, section 4.
  std::int64_t contributions = 1;
  GradientPhase phase = GradientPhase::kWeight;
  std::int64_t unit = 0;  ///< groups that layers use together: what ParameterStore::gather() brings
};

using GroupId = std::size_t;

/// A group that a rank holds.
struct HeldGroup {
  GroupId id = 0;
  std::int64_t stage = 0;               ///< the rank's stage that computes with it
  std::int64_t first_contribution = 0;  ///< the gradient sums that are made here
  std::int64_t contributions = 1;
  bool tied = false;  ///< another pipeline rank holds it too, and makes the other sums
};

/// One member's slice (or, of what data ranks divide, a part of it); flat tensors of `count` elements from `begin` on.
struct ParameterSlice {
  const ParameterSpec* spec = nullptr;
  GroupId group = 0;
  std::int64_t slice = 0;
  std::int64_t begin = 0;  ///< a multiple of kChunkElements
  std::int64_t count = 0;
  bool tied = false;  ///< HeldGroup::tied
  Tensor weight;      ///< compute type; the same memory as master in fp32; undefined in parts of zero = 3
  Tensor master;      ///< fp32; defined where this rank updates it
  std::vector<Tensor> contributions;  ///< fp32 gradient sums of the running replica
  Tensor partial;                     ///< int64 fixed-point sum; undefined where one rank's contributions are all
};

}  // namespace baekji
