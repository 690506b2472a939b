#pragma once
// ChunkIndex: where the chunks and the names of the whole model stand in their sorted order, for what ranks tell one
// another about them. A pure function of the declared parameters.

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "core/logical_tensor.h"
#include "parallel/parameter_store.h"

namespace baekji {

class ChunkIndex {
 public:
  explicit ChunkIndex(const ParameterStore& store);

  std::int64_t chunks() const { return chunks_; }
  std::int64_t names() const { return static_cast<std::int64_t>(first_chunk_.size()); }

  /// The place of the chunk that begins at element `begin` of a slice: by name, slice, chunk.
  std::int64_t chunk(const LogicalTensor& tensor, std::int64_t slice, std::int64_t begin) const;
  /// The place of a name, and back.
  std::int64_t name_index(const std::string& name) const;
  const std::string& name(std::int64_t index) const;
  /// The chunks of a name: [first, end).
  std::pair<std::int64_t, std::int64_t> chunks_of(std::int64_t name_index) const;

 private:
  std::map<std::string, std::int64_t> first_chunk_;  // by name
  std::int64_t chunks_ = 0;
};

}  // namespace baekji
