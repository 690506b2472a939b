#include "parallel/mesh.h"

namespace baekji {

void validate(const Mesh& mesh, std::int64_t ranks, const std::string& place) {
  if (mesh.pipeline < 1 || mesh.data < 1 || mesh.tensor < 1) {
    throw Error("every degree of the mesh must be at least 1").values(">= 1", mesh.describe()).at(place);
  }
  if (mesh.size() != ranks) {
    throw Error("the mesh does not match the number of ranks")
        .values(fmt::format("{} ranks for {}", mesh.size(), mesh.describe()), fmt::format("{} ranks", ranks))
        .at(place)
        .hint(fmt::format("start with mpirun -n {}, or change the degrees in [layout]", mesh.size()));
  }
}

}  // namespace baekji
