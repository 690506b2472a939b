#include "core/hdf5.h"

#include <cstring>

#include "core/error.h"
#include "core/untrusted_file.h"

namespace baekji {
namespace {

// HDF5 prints to stderr by default; we turn that off and put the reason into the Error instead.
const bool kQuiet = [] {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  return true;
}();

}  // namespace

std::string hdf5_place(const std::string& path, const std::string& name) {
  return path + " : " + name;
}

Hdf5Handle::Hdf5Handle(hid_t id, const std::string& problem, const std::string& place) : id_(id) {
  if (id < 0) throw Error(problem).values("an HDF5 object", hdf5_reason()).at(place);
}

void Hdf5Handle::reset() noexcept {
  if (id_ >= 0) H5Idec_ref(id_);
  id_ = -1;
}

void Hdf5Handle::close(const std::string& problem, const std::string& place) {
  if (id_ < 0) return;
  const hid_t id = std::exchange(id_, -1);
  if (H5Idec_ref(id) < 0) throw Error(problem).values("everything written", hdf5_reason()).at(place);
}

std::string hdf5_reason() {
  std::string reason;
  const auto visit = [](unsigned /*n*/, const H5E_error2_t* frame, void* out) -> herr_t {
    auto& text = *static_cast<std::string*>(out);
    if (text.empty() && frame->desc != nullptr) text = frame->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit, &reason);
  H5Eclear2(H5E_DEFAULT);
  return reason.empty() ? "an unknown HDF5 failure" : reason;
}

void hdf5_check(herr_t status, const std::string& problem, const std::string& place) {
  if (status < 0) throw Error(problem).values("success", hdf5_reason()).at(place);
}

Hdf5File Hdf5File::open_read_only(const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::exists(path, code)) {
    throw Error("no such file")
        .values("an HDF5 file", "nothing")
        .at(path.string())
        .hint("check the path in the experiment file");
  }
  require_regular_file(path);
  Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT),
                  "not a readable HDF5 file (foreign, truncated or damaged)", path.string());
  return Hdf5File(std::move(file), path.string());
}

bool Hdf5File::has(const std::string& name) const {
  // H5Lexists needs every parent to exist.
  for (std::size_t slash = name.find('/', 1); slash != std::string::npos; slash = name.find('/', slash + 1)) {
    if (H5Lexists(file_.get(), name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
  }
  return H5Lexists(file_.get(), name.c_str(), H5P_DEFAULT) > 0;
}

Hdf5Handle Hdf5File::open_dataset(const std::string& name) const {
  if (!has(name))
    throw Error("the HDF5 file lacks a dataset")
        .values(name, "not there")
        .at(path_)
        .hint("is this the right kind of file?");
  return Hdf5Handle(H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT), "cannot open an HDF5 dataset",
                    hdf5_place(path_, name));
}

std::vector<std::uint64_t> Hdf5File::dims(const std::string& name) const {
  const Hdf5Handle dataset = open_dataset(name);
  const Hdf5Handle space(H5Dget_space(dataset.get()), "cannot read the extent of an HDF5 dataset",
                         hdf5_place(path_, name));
  const int rank = H5Sget_simple_extent_ndims(space.get());
  hdf5_check(rank, "cannot read the rank of an HDF5 dataset", hdf5_place(path_, name));
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  hdf5_check(H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr), "cannot read an HDF5 extent",
             hdf5_place(path_, name));
  return {extents.begin(), extents.end()};
}

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
  return H5Aexists_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

std::string Hdf5File::read_text_attribute(const std::string& object, const std::string& name) const {
  const std::string place = hdf5_place(path_, object + "@" + name);
  if (!has_attribute(object, name)) throw Error("the HDF5 file lacks an attribute").values(name, "not there").at(path_);
  const Hdf5Handle attribute(H5Aopen_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                             "cannot open an HDF5 attribute", place);
  const Hdf5Handle type(H5Aget_type(attribute.get()), "cannot read an HDF5 attribute's type", place);
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) > 0) {
    throw Error("an HDF5 attribute has the wrong type").values("fixed-length text", "another type").at(place);
  }
  std::string text(H5Tget_size(type.get()), '\0');
  hdf5_check(H5Aread(attribute.get(), type.get(), text.data()), "cannot read an HDF5 attribute", place);
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

std::int64_t Hdf5File::read_integer_attribute(const std::string& object, const std::string& name) const {
  const std::string place = hdf5_place(path_, object + "@" + name);
  if (!has_attribute(object, name)) throw Error("the HDF5 file lacks an attribute").values(name, "not there").at(path_);
  const Hdf5Handle attribute(H5Aopen_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                             "cannot open an HDF5 attribute", place);
  const Hdf5Handle type(H5Aget_type(attribute.get()), "cannot read an HDF5 attribute's type", place);
  const Hdf5Handle space(H5Aget_space(attribute.get()), "cannot read an HDF5 attribute's extent", place);
  if (H5Tget_class(type.get()) != H5T_INTEGER || H5Sget_simple_extent_npoints(space.get()) != 1) {
    throw Error("an HDF5 attribute has the wrong type").values("one integer", "another type").at(place);
  }
  std::int64_t value = 0;
  hdf5_check(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), "cannot read an HDF5 attribute", place);
  return value;
}

namespace {

struct Selection {
  Hdf5Handle file_space;
  Hdf5Handle memory_space;
};

Selection select_range(const Hdf5Handle& dataset, std::uint64_t begin, std::uint64_t count, const std::string& place) {
  const hsize_t start[1] = {begin};
  const hsize_t extent[1] = {count};
  Selection s{Hdf5Handle(H5Dget_space(dataset.get()), "cannot read an HDF5 extent", place),
              Hdf5Handle(H5Screate_simple(1, extent, nullptr), "HDF5 refused an extent", place)};
  hdf5_check(H5Sselect_hyperslab(s.file_space.get(), H5S_SELECT_SET, start, nullptr, extent, nullptr),
             "HDF5 refused a range", place);
  return s;
}

}  // namespace

void hdf5_write_range(const Hdf5Handle& dataset, hid_t memory_type, std::uint64_t begin, std::uint64_t count,
                      const void* source, const std::string& place) {
  if (count == 0) return;
  const Selection s = select_range(dataset, begin, count, place);
  hdf5_check(H5Dwrite(dataset.get(), memory_type, s.memory_space.get(), s.file_space.get(), H5P_DEFAULT, source),
             "cannot write an HDF5 dataset", place);
}

void hdf5_read_range(const Hdf5Handle& dataset, hid_t memory_type, std::uint64_t begin, std::uint64_t count,
                     void* destination, const std::string& place) {
  if (count == 0) return;
  const Selection s = select_range(dataset, begin, count, place);
  hdf5_check(H5Dread(dataset.get(), memory_type, s.memory_space.get(), s.file_space.get(), H5P_DEFAULT, destination),
             "cannot read an HDF5 dataset", place);
}

}  // namespace baekji
