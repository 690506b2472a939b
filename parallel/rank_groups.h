#pragma once
// RankGroups: where this rank sits in the mesh, its groups along the axes, its neighbours in the pipeline, and which
// replicas it runs.

#include <cstdint>
#include <memory>
#include <string>

#include "parallel/communicator.h"
#include "parallel/mesh.h"
#include "parallel/pipeline.h"

namespace baekji {

/// The replicas [first, first + count) of a data rank: as even as can be, in order.
struct ReplicaRange {
  std::int64_t first = 0;
  std::int64_t count = 1;
};
/// Throws when there are fewer replicas than data ranks.
ReplicaRange replicas_of(std::int64_t replicas, const Mesh& mesh, const MeshCoordinate& at);
/// The replicas of the data rank that has the most.
std::int64_t most_replicas(std::int64_t replicas, const Mesh& mesh);

/// Bytes that a rank has sent on each axis so far (docs/parallel.md has the formulas).
struct AxisTraffic {
  std::int64_t world = 0;
  std::int64_t tensor = 0;
  std::int64_t data = 0;
  std::int64_t pipeline = 0;     ///< the group of all ranks of a pipeline
  std::int64_t activations = 0;  ///< to the next rank of the pipeline
  std::int64_t gradients = 0;    ///< to the one before
  std::int64_t tied = 0;
  bool operator==(const AxisTraffic&) const = default;
  std::int64_t total() const { return world + tensor + data + pipeline + activations + gradients + tied; }
};

class RankGroups {
 public:
  /// Collective over `world` (which outlives it) when there are several ranks. Throws unless the mesh has one place for
  /// each.
  RankGroups(const Mesh& mesh, Communicator& world);

  const Mesh& mesh() const { return mesh_; }
  const MeshCoordinate& coordinate() const { return coordinate_; }
  Communicator& world() const { return world_; }
  Communicator& tensor() const { return *tensor_; }
  Communicator& data() const { return *data_; }
  Communicator& pipeline() const { return *pipeline_; }
  /// The first and the last rank of the pipeline, which both hold a tied embedding; a group of one for the others.
  Communicator& tied() const { return *tied_; }
  PipelineLinks links() const;
  AxisTraffic traffic() const;

 private:
  // The ranks of a pipeline form a ring. An edge has two groups of its own, one for each direction, so that neither
  // waits behind the other.
  struct Edge {
    std::unique_ptr<Communicator> forward;
    std::unique_ptr<Communicator> backward;
  };
  std::unique_ptr<Communicator> group(std::int64_t color, std::int64_t key, const std::string& name) const;
  void make_edges();

  Mesh mesh_;
  Communicator& world_;
  MeshCoordinate coordinate_;
  std::unique_ptr<Communicator> tensor_;
  std::unique_ptr<Communicator> data_;
  std::unique_ptr<Communicator> pipeline_;
  std::unique_ptr<Communicator> tied_;
  Edge to_next_;
  Edge from_previous_;
};

}  // namespace baekji
