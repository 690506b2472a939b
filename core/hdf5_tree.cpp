#include "core/hdf5_tree.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "core/error.h"

namespace baekji {
namespace {

struct Link {
  std::string name;
  H5L_type_t type = H5L_TYPE_ERROR;
};

std::vector<Link> links_of(const Hdf5Handle& group, const std::string& place) {
  std::vector<Link> links;
  const auto take = [](hid_t /*group*/, const char* name, const H5L_info_t* info, void* out) -> herr_t {
    static_cast<std::vector<Link>*>(out)->push_back({name, info->type});
    return 0;
  };
  hsize_t index = 0;
  hdf5_check(H5Literate(group.get(), H5_INDEX_NAME, H5_ITER_INC, &index, take, &links), "cannot list an HDF5 group",
             place);
  return links;
}

std::vector<std::string> attributes_of(const Hdf5Handle& object, const std::string& place) {
  std::vector<std::string> names;
  const auto take = [](hid_t /*object*/, const char* name, const H5A_info_t* /*info*/, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  hsize_t index = 0;
  hdf5_check(H5Aiterate2(object.get(), H5_INDEX_NAME, H5_ITER_INC, &index, take, &names),
             "cannot list the attributes of an HDF5 object", place);
  std::sort(names.begin(), names.end());
  return names;
}

class Walk {
 public:
  Walk(const Hdf5File& file, std::size_t most, int most_levels) : file_(file), most_(most), most_levels_(most_levels) {}

  std::map<std::string, Hdf5Object> run() {
    visit("/", 0);
    return std::move(found_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem, const std::string& came, const std::string& path) const {
    throw Error(problem)
        .values("groups and datasets of this file, as we write them", came)
        .at(hdf5_place(file_.path(), path));
  }

  // Recursion ends with the levels, however the links run.
  void visit(const std::string& path, int level) {
    const std::string place = hdf5_place(file_.path(), path);
    const Hdf5Handle object(H5Oopen(file_.get(), path.c_str(), H5P_DEFAULT), "cannot open an HDF5 object", place);
    const H5I_type_t type = H5Iget_type(object.get());
    if (type != H5I_GROUP && type != H5I_DATASET) fail("an HDF5 file holds an object of another kind", "a type", path);
    if (found_.size() == most_ || level > most_levels_)
      fail("an HDF5 file holds more than belongs to it", "one object more", path);
    found_[path] = {.is_dataset = type == H5I_DATASET, .attributes = attributes_of(object, place)};
    if (type == H5I_DATASET) return;
    for (const Link& link : links_of(object, place)) {
      const std::string child = (path == "/" ? path : path + "/") + link.name;
      if (link.type != H5L_TYPE_HARD) fail("an HDF5 file holds a link that leads elsewhere", "a soft link", child);
      visit(child, level + 1);
    }
  }

  const Hdf5File& file_;
  std::size_t most_;
  int most_levels_;
  std::map<std::string, Hdf5Object> found_;
};

Hdf5Handle creation_of(const Hdf5Handle& dataset, const std::string& place) {
  return Hdf5Handle(H5Dget_create_plist(dataset.get()), "cannot read a dataset's layout", place);
}

struct Box {
  std::vector<std::uint64_t> start;
  std::vector<std::uint64_t> count;
};

// A selection that is its own bounding box.
Box box_of(const Hdf5Handle& space, const std::string& place) {
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 1 || rank > H5S_MAX_RANK) throw Error("a virtual dataset has an impossible extent").at(place);
  std::array<hsize_t, H5S_MAX_RANK> first{}, last{};
  hdf5_check(H5Sget_select_bounds(space.get(), first.data(), last.data()), "cannot read a virtual mapping", place);
  Box box;
  std::uint64_t elements = 1;
  for (std::size_t i = 0; i < static_cast<std::size_t>(rank); ++i) {
    box.start.push_back(first[i]);
    box.count.push_back(last[i] - first[i] + 1);
    elements *= box.count.back();
  }
  if (std::cmp_not_equal(H5Sget_select_npoints(space.get()), elements))
    throw Error("a virtual dataset maps more than rectangles").values("a rectangle", "another selection").at(place);
  return box;
}

std::string text_of(const std::function<ssize_t(char*, std::size_t)>& get, const std::string& place) {
  constexpr ssize_t kMostNameBytes = 4096;
  const ssize_t size = get(nullptr, 0);
  if (size < 0 || size > kMostNameBytes) throw Error("cannot read a virtual mapping").at(place);
  std::string text(static_cast<std::size_t>(size) + 1, '\0');
  hdf5_check(get(text.data(), text.size()) < 0 ? -1 : 0, "cannot read a virtual mapping", place);
  text.pop_back();
  return text;
}

}  // namespace

std::map<std::string, Hdf5Object> hdf5_objects(const Hdf5File& file, std::size_t most, int most_levels) {
  return Walk(file, most, most_levels).run();
}

void require_dataset_form(const Hdf5File& file, const std::string& name, const Hdf5DatasetForm& form) {
  const std::string place = hdf5_place(file.path(), name);
  const Hdf5Handle dataset = file.open_dataset(name);
  require_equal(fmt::format("{}", fmt::join(form.dims, " x ")), fmt::format("{}", fmt::join(file.dims(name), " x ")),
                "a dataset has another extent", place);
  const Hdf5Handle type(H5Dget_type(dataset.get()), "cannot read a dataset's type", place);
  const Hdf5Handle creation = creation_of(dataset, place);
  if (H5Tequal(type.get(), H5T_IEEE_F32LE) <= 0 || H5Pget_layout(creation.get()) != form.layout ||
      (form.layout != H5D_VIRTUAL && H5Pget_external_count(creation.get()) != 0)) {
    throw Error("a dataset has another form")
        .values(form.layout == H5D_VIRTUAL ? "virtual fp32 values" : "contiguous fp32 values in this file", "another")
        .at(place);
  }
}

std::vector<Hdf5Mapping> hdf5_mappings(const Hdf5File& file, const std::string& name) {
  const std::string place = hdf5_place(file.path(), name);
  const Hdf5Handle creation = creation_of(file.open_dataset(name), place);
  std::size_t count = 0;
  hdf5_check(H5Pget_virtual_count(creation.get(), &count), "cannot read a virtual mapping", place);
  std::vector<Hdf5Mapping> mappings;
  for (std::size_t i = 0; i < count; ++i) {
    const Hdf5Handle target(H5Pget_virtual_vspace(creation.get(), i), "cannot read a virtual mapping", place);
    const Hdf5Handle source(H5Pget_virtual_srcspace(creation.get(), i), "cannot read a virtual mapping", place);
    Box to = box_of(target, place);
    const Box from = box_of(source, place);
    require_equal(std::size_t{1}, from.start.size(), "a virtual dataset maps something that has more than one dim",
                  place);
    mappings.push_back(
        {.start = std::move(to.start),
         .count = std::move(to.count),
         .file = text_of([&](char* out, std::size_t n) { return H5Pget_virtual_filename(creation.get(), i, out, n); },
                         place),
         .dataset = text_of(
             [&](char* out, std::size_t n) { return H5Pget_virtual_dsetname(creation.get(), i, out, n); }, place),
         .source_start = from.start[0],
         .source_count = from.count[0]});
  }
  return mappings;
}

}  // namespace baekji
