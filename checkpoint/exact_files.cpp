#include "checkpoint/exact_files.h"

#include <algorithm>
#include <set>

#include "checkpoint/index_file.h"
#include "checkpoint/shard_file.h"
#include "core/error.h"
#include "core/file_system.h"
#include "core/hdf5_tree.h"
#include "core/untrusted_file.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

constexpr int kLevels = 8;  // more than any of our files has

// What a file should hold: its objects, all groups above a dataset included.
class Contents {
 public:
  explicit Contents(std::vector<std::string> root_attributes) { objects_["/"].attributes = sorted(root_attributes); }

  void add_dataset(const std::string& path, std::vector<std::string> attributes) {
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
      objects_[path.substr(0, slash)];
    objects_[path] = {.is_dataset = true, .attributes = sorted(std::move(attributes))};
  }

  void require(const Hdf5File& file) const {
    const auto found = hdf5_objects(file, objects_.size() + 1, kLevels);
    for (const auto& [path, object] : found) {
      const auto wanted = objects_.find(path);
      if (wanted == objects_.end() || wanted->second.is_dataset != object.is_dataset)
        throw Error("a file of the checkpoint holds what its manifest does not name")
            .values("what the manifest implies", object.is_dataset ? "a data set" : "a group")
            .at(hdf5_place(file.path(), path));
      require_equal(fmt::format("{}", fmt::join(wanted->second.attributes, ", ")),
                    fmt::format("{}", fmt::join(object.attributes, ", ")), "an object has other attributes",
                    hdf5_place(file.path(), path));
    }
    for (const auto& [path, object] : objects_) {
      if (!found.contains(path))
        throw Error("a file of the checkpoint lacks what its manifest names")
            .values(path, "nothing of that name")
            .at(file.path());
    }
  }

 private:
  static std::vector<std::string> sorted(std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    return names;
  }
  std::map<std::string, Hdf5Object> objects_;
};

void require_attribute(const Hdf5File& file, const std::string& object, const char* name, std::int64_t value) {
  require_equal(value, file.read_integer_attribute(object, name), "an attribute has another value",
                hdf5_place(file.path(), object + "@" + name));
}

void require_attribute(const Hdf5File& file, const std::string& object, const char* name, const std::string& value) {
  require_equal(value, file.read_text_attribute(object, name), "an attribute has another value",
                hdf5_place(file.path(), object + "@" + name));
}

std::vector<Hdf5Mapping> mappings_of(const Manifest& manifest, const LogicalTensor& tensor, StateKind kind,
                                     std::span<const Manifest::Range> ranges) {
  std::vector<Hdf5Mapping> mappings;
  for (const Manifest::Range& saved : ranges) {
    for (const RangePiece& piece : range_pieces(tensor, saved.range)) {
      Hdf5Mapping mapping{.start = {static_cast<std::uint64_t>(piece.row), static_cast<std::uint64_t>(piece.column)},
                          .count = {static_cast<std::uint64_t>(piece.rows), static_cast<std::uint64_t>(piece.columns)},
                          .file = manifest.shards[static_cast<std::size_t>(saved.shard)].name,
                          .dataset = shard_dataset_name(tensor, kind, saved.range.slice, saved.range.begin),
                          .source_start = static_cast<std::uint64_t>(piece.offset),
                          .source_count = static_cast<std::uint64_t>(piece.rows * piece.columns)};
      if (tensor.shape.size() == 1) {
        mapping.start.erase(mapping.start.begin());
        mapping.count.erase(mapping.count.begin());
      }
      mappings.push_back(std::move(mapping));
    }
  }
  return mappings;
}

void require_mappings(const Hdf5File& file, const std::string& name, const std::vector<Hdf5Mapping>& wanted) {
  const std::vector<Hdf5Mapping> found = hdf5_mappings(file, name);
  if (found == wanted) return;
  throw Error("the index of a checkpoint shows other values than its shards hold")
      .values(fmt::format("the {} parts that the manifest implies", wanted.size()),
              fmt::format("{} parts, not the same", found.size()))
      .at(hdf5_place(file.path(), name));
}

void require_shard(const fs::path& path, const Manifest& manifest, std::int64_t shard,
                   std::span<const SavedRange* const> ranges) {
  const Hdf5File file = Hdf5File::open_read_only(path);
  Contents contents({"format", "step", "writer"});
  const auto each = [&](const auto& take) {
    for (const SavedRange* const range : ranges) {
      const LogicalTensor& tensor = manifest.tensors[static_cast<std::size_t>(range->tensor)];
      for (const StateKind kind : kStateKinds)
        take(shard_dataset_name(tensor, kind, range->slice, range->begin), *range);
    }
  };
  each([&](const std::string& name, const SavedRange&) { contents.add_dataset(name, {"slice", "begin", "count"}); });
  contents.require(file);
  require_attribute(file, "/", "format", std::string("baekji.shard.v1"));
  require_attribute(file, "/", "step", manifest.info.step);
  require_attribute(file, "/", "writer", shard);
  each([&](const std::string& name, const SavedRange& range) {
    require_attribute(file, name, "slice", range.slice);
    require_attribute(file, name, "begin", range.begin);
    require_attribute(file, name, "count", range.count);
    require_dataset_form(file, name, {.dims = {static_cast<std::uint64_t>(range.count)}, .layout = H5D_CONTIGUOUS});
  });
}

void require_index(const fs::path& path, const Manifest& manifest) {
  const Hdf5File file = Hdf5File::open_read_only(path);
  Contents contents({"format", "step", "contract"});
  for (const LogicalTensor& tensor : manifest.tensors) {
    for (const StateKind kind : kStateKinds) contents.add_dataset(index_dataset_name(tensor, kind), {});
  }
  contents.require(file);
  require_attribute(file, "/", "format", std::string("baekji.index.v1"));
  require_attribute(file, "/", "step", manifest.info.step);
  require_attribute(file, "/", "contract", to_hex(manifest.info.contract));
  auto begin = manifest.ranges.begin();
  for (std::size_t t = 0; t < manifest.tensors.size(); ++t) {
    const LogicalTensor& tensor = manifest.tensors[t];
    const auto end = std::find_if(begin, manifest.ranges.end(), [&](const Manifest::Range& r) {
      return r.range.tensor != static_cast<std::int64_t>(t);
    });
    for (const StateKind kind : kStateKinds) {
      const std::string name = index_dataset_name(tensor, kind);
      require_dataset_form(file, name, {.dims = {tensor.shape.begin(), tensor.shape.end()}, .layout = H5D_VIRTUAL});
      require_mappings(file, name, mappings_of(manifest, tensor, kind, std::span(begin, end)));
    }
    begin = end;
  }
}

}  // namespace

void require_exact_directory(const fs::path& directory, const Manifest& manifest) {
  fs::path plain = directory.lexically_normal();
  if (!plain.has_filename()) plain = plain.parent_path();
  if (plain.filename() == "." || plain.filename() == "..") plain = fs::canonical(plain);
  const std::int64_t step = manifest.info.step;
  if (step < 1)
    throw Error("a saved state belongs to a step; that of step 0 comes from the seed alone")
        .values("step >= 1", fmt::format("step {}", step))
        .at(directory.string());
  require_equal(fmt::format("step-{:08}", step), plain.filename().string(),
                "a checkpoint lies in the directory of another step", directory.string());
  std::set<std::string> wanted{"manifest.json", manifest.index.name};
  for (const SavedFile& shard : manifest.shards) wanted.insert(shard.name);
  for (const std::string& name : posix_file_system().list(directory)) {
    if (wanted.erase(name) == 0)
      throw Error("a checkpoint holds a file that its manifest does not name")
          .values("the manifest's files alone", name)
          .at(directory.string());
    require_regular_file(directory / name);
  }
  if (!wanted.empty())
    throw Error("a file of the checkpoint is missing").values(*wanted.begin(), "nothing").at(directory.string());
}

void require_exact_files(const fs::path& directory, const Manifest& manifest) {
  std::vector<std::vector<const SavedRange*>> by_shard(manifest.shards.size());
  for (const Manifest::Range& saved : manifest.ranges)
    by_shard[static_cast<std::size_t>(saved.shard)].push_back(&saved.range);
  for (std::size_t shard = 0; shard < by_shard.size(); ++shard)
    require_shard(directory / manifest.shards[shard].name, manifest, static_cast<std::int64_t>(shard), by_shard[shard]);
  require_index(directory / manifest.index.name, manifest);
}

}  // namespace baekji
