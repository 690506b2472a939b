#pragma once
// RankGroups: where this rank sits in the mesh, its groups along the axes, and which replicas it runs.

#include <cstdint>
#include <memory>

#include "parallel/communicator.h"
#include "parallel/mesh.h"

namespace baekji {

/// The replicas [first, first + count) of a data rank: as even as can be, in order.
struct ReplicaRange {
  std::int64_t first = 0;
  std::int64_t count = 1;
};
/// Throws when there are fewer replicas than data ranks.
ReplicaRange replicas_of(std::int64_t replicas, const Mesh& mesh, const MeshCoordinate& at);

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

 private:
  Mesh mesh_;
  Communicator& world_;
  MeshCoordinate coordinate_;
  std::unique_ptr<Communicator> tensor_;
  std::unique_ptr<Communicator> data_;
};

}  // namespace baekji
