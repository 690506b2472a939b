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

std::int64_t most_replicas(std::int64_t replicas, const Mesh& mesh) {
  return ceil_div(replicas, mesh.data);
}

RankGroups::RankGroups(const Mesh& mesh, Communicator& world)
    : mesh_(mesh), world_(world), coordinate_(mesh.coordinate(world.rank())) {
  validate(mesh, world.size(), "[layout]");
  const MeshCoordinate& at = coordinate_;
  tensor_ = group(at.pipeline * mesh.data + at.data, at.tensor, "tensor");
  data_ = group(at.pipeline * mesh.tensor + at.tensor, at.data, "data");
  pipeline_ = group(at.data * mesh.tensor + at.tensor, at.pipeline, "pipeline");
  const bool end = at.pipeline == 0 || at.pipeline == mesh.pipeline - 1;
  const std::int64_t line = at.data * mesh.tensor + at.tensor;
  tied_ = group(end ? line : mesh.size() + world.rank(), at.pipeline, "tied embedding");
  if (mesh.pipeline > 1) make_edges();
}

std::unique_ptr<Communicator> RankGroups::group(std::int64_t color, std::int64_t key, const std::string& name) const {
  return world_.split(narrow<int>(color), narrow<int>(key), name);
}

// Edge e leads from pipeline rank e to the next one. A split puts each rank into one group, so the edges are made in
// classes without neighbours: two, and one more for the edge that closes a ring of odd length.
void RankGroups::make_edges() {
  const std::int64_t ranks = mesh_.pipeline;
  const std::int64_t mine = coordinate_.pipeline;
  const std::int64_t before = (mine + ranks - 1) % ranks;
  const auto class_of = [&](std::int64_t edge) { return ranks % 2 == 1 && edge == ranks - 1 ? 2 : edge % 2; };
  const std::int64_t line = coordinate_.data * mesh_.tensor + coordinate_.tensor;
  for (std::int64_t edges = 0; edges < 2 + ranks % 2; ++edges) {
    const bool outgoing = class_of(mine) == edges;
    const bool incoming = class_of(before) == edges;
    const std::int64_t edge = outgoing ? mine : incoming ? before : ranks + mine;
    for (const bool forward : {true, false}) {
      auto made = group(line * 2 * ranks + edge, outgoing ? 0 : 1,
                        fmt::format("pipeline {} -> {} ({})", edge % ranks, (edge + 1) % ranks,
                                    forward ? "activations" : "gradients"));
      if (!outgoing && !incoming) continue;
      Edge& kept = outgoing ? to_next_ : from_previous_;
      (forward ? kept.forward : kept.backward) = std::move(made);
    }
  }
}

PipelineLinks RankGroups::links() const {
  return {.forward_in = from_previous_.forward.get(),
          .forward_out = to_next_.forward.get(),
          .backward_in = to_next_.backward.get(),
          .backward_out = from_previous_.backward.get()};
}

AxisTraffic RankGroups::traffic() const {
  const auto sent = [](const Communicator* group) { return group == nullptr ? 0 : group->traffic().sent_bytes; };
  return {.world = sent(&world_),
          .tensor = sent(tensor_.get()),
          .data = sent(data_.get()),
          .pipeline = sent(pipeline_.get()),
          .activations = sent(to_next_.forward.get()),
          .gradients = sent(from_previous_.backward.get()),
          .tied = sent(tied_.get())};
}

}  // namespace baekji
