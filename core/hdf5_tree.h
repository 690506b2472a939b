#pragma once
// What an HDF5 file holds beside what one asked it for: for readers that accept nothing else in it.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/hdf5.h"

namespace baekji {

struct Hdf5Object {
  bool is_dataset = false;              ///< else a group
  std::vector<std::string> attributes;  ///< their names, sorted
};

/// Every group and dataset by its full path, the root ("/") included. Throws when there is a link that leads elsewhere
/// (soft or external), an object of another kind, more than `most` objects, or more than `most_levels` groups in one
/// another (links may form a circle).
std::map<std::string, Hdf5Object> hdf5_objects(const Hdf5File& file, std::size_t most, int most_levels);

/// Throws unless a dataset has exactly these extents and holds little-endian fp32 values in the layout given
/// (H5D_CONTIGUOUS, H5D_VIRTUAL), in this file alone.
struct Hdf5DatasetForm {
  std::vector<std::uint64_t> dims;
  int layout = H5D_CONTIGUOUS;
};
void require_dataset_form(const Hdf5File& file, const std::string& name, const Hdf5DatasetForm& form);

/// A rectangle of a virtual dataset, and where its elements come from: one contiguous range of another dataset.
struct Hdf5Mapping {
  std::vector<std::uint64_t> start;  ///< of the rectangle
  std::vector<std::uint64_t> count;
  std::string file;
  std::string dataset;
  std::uint64_t source_start = 0;
  std::uint64_t source_count = 0;

  bool operator==(const Hdf5Mapping&) const = default;
};
/// The mappings of a virtual dataset in their order. Throws when one selects anything but a rectangle and a range.
std::vector<Hdf5Mapping> hdf5_mappings(const Hdf5File& file, const std::string& name);

}  // namespace baekji
