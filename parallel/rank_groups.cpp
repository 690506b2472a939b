#include "parallel/rank_groups.h"

namespace baekji {

ReplicaRange replicas_of(std::int64_t replicas, const Mesh& mesh, const MeshCoordinate& at) {
  if (replicas < mesh.data) {
    throw Error("every data rank needs a replica")
        .values(fmt::format("data <= replicas = {}", replicas), fmt::format("data = {}", mesh.data))
        .at("[layout] data, [numerics] replicas");
  }
  const std::int64_t first = replicas * at.data / mesh.data;
  return {.first = first, .count = replicas * (at.data + 1) / mesh.data - first};
}

RankGroups::RankGroups(const Mesh& mesh, Communicator& world)
    : mesh_(mesh), world_(world), coordinate_(mesh.coordinate(world.rank())) {
  validate(mesh, world.size(), "[layout]");
  const auto group = [&](std::int64_t color, std::int64_t key, const char* name) {
    return world.split(narrow<int>(color), narrow<int>(key), name);
  };
  const MeshCoordinate& at = coordinate_;
  tensor_ = group(at.pipeline * mesh.data + at.data, at.tensor, "tensor");
  data_ = group(at.pipeline * mesh.tensor + at.tensor, at.data, "data");
}

}  // namespace baekji
