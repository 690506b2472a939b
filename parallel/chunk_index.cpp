#include "parallel/chunk_index.h"

#include <iterator>

namespace baekji {

ChunkIndex::ChunkIndex(const ParameterStore& store) {
  std::map<std::string, std::int64_t> count;
  for (GroupId id = 0; id < store.group_count(); ++id) {
    for (const ParameterSpec& member : store.group(id).members) {
      count[member.logical.name] = member.logical.slices * member.logical.chunks_per_slice();
    }
  }
  for (const auto& [name, chunks] : count) {
    first_chunk_[name] = chunks_;
    chunks_ += chunks;
  }
}

std::int64_t ChunkIndex::chunk(const LogicalTensor& tensor, std::int64_t slice, std::int64_t begin) const {
  return first_chunk_.at(tensor.name) + slice * tensor.chunks_per_slice() + begin / kChunkElements;
}

std::int64_t ChunkIndex::name_index(const std::string& name) const {
  return std::distance(first_chunk_.begin(), first_chunk_.find(name));
}

const std::string& ChunkIndex::name(std::int64_t index) const {
  return std::next(first_chunk_.begin(), index)->first;
}

std::pair<std::int64_t, std::int64_t> ChunkIndex::chunks_of(std::int64_t index) const {
  const auto at = std::next(first_chunk_.begin(), index);
  const auto next = std::next(at);
  return {at->second, next == first_chunk_.end() ? chunks_ : next->second};
}

}  // namespace baekji
