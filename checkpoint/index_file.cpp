#include "checkpoint/index_file.h"

#include <algorithm>
#include <array>

#include "checkpoint/shard_file.h"
#include "core/error.h"
#include "core/hdf5.h"
#include "core/hdf5_writer.h"

namespace baekji {
namespace {

std::vector<hsize_t> extents(const LogicalTensor& tensor) {
  std::vector<hsize_t> dims;
  for (const std::int64_t extent : tensor.shape) dims.push_back(static_cast<hsize_t>(extent));
  return dims;
}

// Selects `piece` in the space of the whole tensor; a one-dim tensor has columns only.
void select_piece(const Hdf5Handle& space, const LogicalTensor& tensor, const RangePiece& piece,
                  const std::string& place) {
  std::vector<hsize_t> start{static_cast<hsize_t>(piece.row), static_cast<hsize_t>(piece.column)};
  std::vector<hsize_t> count{static_cast<hsize_t>(piece.rows), static_cast<hsize_t>(piece.columns)};
  if (tensor.shape.size() == 1) {
    start.erase(start.begin());
    count.erase(count.begin());
  }
  hdf5_check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
             "HDF5 refused a rectangle", place);
}

struct TensorRanges {
  const LogicalTensor* tensor = nullptr;
  std::span<const Manifest::Range> ranges;
};

void map_range(const Hdf5Handle& properties, const TensorRanges& whole, const Manifest& manifest,
               const Manifest::Range& saved, StateKind kind) {
  const LogicalTensor& tensor = *whole.tensor;
  const std::string& file = manifest.shards[static_cast<std::size_t>(saved.shard)].name;
  const std::string dataset = shard_dataset_name(tensor, kind, saved.range.slice, saved.range.begin);
  const std::string place = file + " : " + dataset;
  const std::vector<hsize_t> dims = extents(tensor);
  for (const RangePiece& piece : range_pieces(tensor, saved.range)) {
    const Hdf5Handle target(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                            "HDF5 refused an extent", place);
    select_piece(target, tensor, piece, place);
    const hsize_t saved_extent = static_cast<hsize_t>(saved.range.count);
    const Hdf5Handle source(H5Screate_simple(1, &saved_extent, nullptr), "HDF5 refused an extent", place);
    const hsize_t start = static_cast<hsize_t>(piece.offset);
    const hsize_t count = static_cast<hsize_t>(piece.rows * piece.columns);
    hdf5_check(H5Sselect_hyperslab(source.get(), H5S_SELECT_SET, &start, nullptr, &count, nullptr),
               "HDF5 refused a range", place);
    hdf5_check(H5Pset_virtual(properties.get(), target.get(), file.c_str(), dataset.c_str(), source.get()),
               "HDF5 refused a virtual mapping", place);
  }
}

void write_tensor(const Hdf5Writer& file, const TensorRanges& whole, const Manifest& manifest, StateKind kind) {
  const LogicalTensor& tensor = *whole.tensor;
  const std::string name = index_dataset_name(tensor, kind);
  const std::string place = file.path() + " : " + name;
  const Hdf5Handle properties(H5Pcreate(H5P_DATASET_CREATE), "HDF5 refused a property list", place);
  for (const Manifest::Range& saved : whole.ranges) map_range(properties, whole, manifest, saved, kind);
  const std::vector<hsize_t> dims = extents(tensor);
  const Hdf5Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                         "HDF5 refused an extent", place);
  const Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), "HDF5 refused a property list", place);
  hdf5_check(H5Pset_create_intermediate_group(links.get(), 1), "HDF5 refused a property", place);
  Hdf5Handle dataset(
      H5Dcreate2(file.get(), name.c_str(), H5T_IEEE_F32LE, space.get(), links.get(), properties.get(), H5P_DEFAULT),
      "cannot create a virtual dataset", place);
  dataset.close("cannot write a virtual dataset", place);
  file.check();
}

}  // namespace

std::string index_dataset_name(const LogicalTensor& tensor, StateKind kind) {
  return kind == StateKind::kMaster ? "/" + tensor.name : fmt::format("/{}/{}", name_of(kind), tensor.name);
}

std::vector<RangePiece> range_pieces(const LogicalTensor& tensor, const SavedRange& range) {
  const std::int64_t columns = tensor.slice_columns();
  const std::int64_t first_row = tensor.split == Split::kRows ? range.slice * tensor.slice_rows() : 0;
  const std::int64_t first_column = tensor.split == Split::kColumns ? range.slice * columns : 0;
  const std::int64_t real_rows = std::clamp<std::int64_t>(tensor.rows() - first_row, 0, tensor.slice_rows());
  const std::int64_t end = std::min(range.begin + range.count, real_rows * columns);
  std::vector<RangePiece> pieces;
  for (std::int64_t i = range.begin; i < end;) {
    const std::int64_t column = i % columns;
    const std::int64_t whole_rows = column == 0 ? (end - i) / columns : 0;
    RangePiece piece{.row = first_row + i / columns,
                     .column = first_column + column,
                     .rows = 1,
                     .columns = 0,
                     .offset = i - range.begin};
    if (whole_rows > 0) {
      piece.rows = whole_rows;
      piece.columns = columns;
    } else {
      piece.columns = std::min(columns - column, end - i);
    }
    pieces.push_back(piece);
    i += piece.rows * piece.columns;
  }
  return pieces;
}

void write_index_file(const std::filesystem::path& path, const Manifest& manifest) {
  Hdf5Writer file(path);
  file.write_attribute("/", "format", std::string("baekji.index.v1"));
  file.write_attribute("/", "step", manifest.info.step);
  file.write_attribute("/", "contract", to_hex(manifest.info.contract));
  auto begin = manifest.ranges.begin();
  for (std::size_t t = 0; t < manifest.tensors.size(); ++t) {
    const auto end = std::find_if(begin, manifest.ranges.end(), [&](const Manifest::Range& r) {
      return r.range.tensor != static_cast<std::int64_t>(t);
    });
    const TensorRanges whole{&manifest.tensors[t], std::span(begin, end)};
    for (const StateKind kind : kStateKinds) write_tensor(file, whole, manifest, kind);
    begin = end;
  }
  file.close();
}

}  // namespace baekji
