#pragma once
// Mesh: who sits where. A pure value.

#include <array>
#include <cstdint>
#include <string>

#include "core/error.h"

namespace baekji {

/// Where a rank sits on each axis.
struct MeshCoordinate {
  std::int64_t pipeline = 0;
  std::int64_t data = 0;
  std::int64_t tensor = 0;
  bool operator==(const MeshCoordinate&) const = default;
  std::string describe() const { return fmt::format("pipeline {}, data {}, tensor {}", pipeline, data, tensor); }
};

/// Degrees of the axes. The tensor axis varies fastest, so that its ranks share a node.
struct Mesh {
  std::int64_t pipeline = 1;
  std::int64_t data = 1;
  std::int64_t tensor = 1;

  std::int64_t size() const { return pipeline * data * tensor; }
  MeshCoordinate coordinate(std::int64_t rank) const {
    return {.pipeline = rank / (tensor * data), .data = rank / tensor % data, .tensor = rank % tensor};
  }
  std::int64_t rank(const MeshCoordinate& at) const { return (at.pipeline * data + at.data) * tensor + at.tensor; }
  /// "rank 5 (pipeline 1, data 0, tensor 1)"
  std::string rank_name(std::int64_t rank) const {
    return fmt::format("rank {} ({})", rank, coordinate(rank).describe());
  }
  std::string describe() const { return fmt::format("{}x{}x{} (pipeline x data x tensor)", pipeline, data, tensor); }
};

/// Throws when the degrees are not positive or their product is not the number of ranks that were started.
void validate(const Mesh& mesh, std::int64_t ranks, const std::string& place);

}  // namespace baekji
