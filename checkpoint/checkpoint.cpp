#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <optional>
#include <tuple>

#include "checkpoint/exact_files.h"
#include "checkpoint/file_digest.h"
#include "checkpoint/shard_file.h"
#include "core/error.h"
#include "core/file_system.h"
#include "core/hdf5.h"
#include "core/untrusted_file.h"
#include "proof/state_root.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

const SavedFile& file_of(const Manifest& manifest, std::size_t file) {
  return file == 0 ? manifest.index : manifest.shards[file - 1];
}

void check_present(const fs::path& path, const SavedFile& file) {
  std::error_code code;
  const auto size = fs::file_size(path, code);
  if (code) throw Error("a file of the checkpoint is missing").values(file.name, code.message()).at(path.string());
  require_equal(file.size_bytes, static_cast<std::int64_t>(size), "a file of the checkpoint has the wrong size (bytes)",
                path.string());
}

// The element ranges that `shard` needs, by shard file.
void plan_reads(const Manifest& manifest, const StateShard& shard,
                std::map<std::int64_t, std::vector<ShardRead>>& reads) {
  const LogicalTensor& wanted = *shard.tensor;
  const auto found = std::lower_bound(manifest.tensors.begin(), manifest.tensors.end(), wanted.name,
                                      [](const LogicalTensor& t, const std::string& name) { return t.name < name; });
  if (found == manifest.tensors.end() || found->name != wanted.name) {
    throw Error("the checkpoint lacks a tensor of the model")
        .values(describe_geometry(wanted), "nothing of that name")
        .at(wanted.name);
  }
  if (!same_geometry(*found, wanted)) {
    throw Error("a tensor of the checkpoint has another shape or slicing than the model's")
        .values(describe_geometry(wanted), describe_geometry(*found))
        .at(wanted.name)
        .hint("the experiment's [model] and numerics.tensor_grains must be those of the run");
  }
  const std::int64_t end = shard.begin + shard.count;
  if (shard.slice < 0 || shard.slice >= wanted.slices || shard.begin < 0 || shard.count < 0 ||
      end > wanted.slice_elements()) {
    throw Error("a part of the state lies outside its tensor")
        .values(describe_geometry(wanted), fmt::format("slice {}, elements {} to {}", shard.slice, shard.begin, end))
        .at(wanted.name);
  }
  const std::int64_t tensor = found - manifest.tensors.begin();
  auto it = std::partition_point(manifest.ranges.begin(), manifest.ranges.end(), [&](const Manifest::Range& r) {
    return std::tuple(r.range.tensor, r.range.slice, r.range.begin + r.range.count) <=
           std::tuple(tensor, shard.slice, shard.begin);
  });
  for (; it != manifest.ranges.end() && it->range.tensor == tensor && it->range.slice == shard.slice &&
         it->range.begin < end;
       ++it) {
    const std::int64_t begin = std::max(shard.begin, it->range.begin);
    const std::int64_t count = std::min(end, it->range.begin + it->range.count) - begin;
    for (const StateKind kind : kStateKinds) {
      float* const values = shard.values[static_cast<std::size_t>(kind)];
      if (values == nullptr) continue;
      reads[it->shard].push_back({.tensor = &*found,
                                  .range = it->range,
                                  .kind = kind,
                                  .begin = begin,
                                  .count = count,
                                  .destination = {.data = values + (begin - shard.begin), .device = shard.device}});
    }
  }
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& directory) {
  const fs::path path = directory / "manifest.json";
  if (!posix_file_system().exists(path))
    throw Error("a checkpoint has no manifest").values("manifest.json", "nothing").at(directory.string());
  const std::string bytes = read_untrusted(path, kMostManifestBytes);
  Checkpoint checkpoint;
  checkpoint.path_ = directory;
  checkpoint.manifest_ = decode_manifest(bytes, path.string());
  checkpoint.digest_ = sha256(bytes);
  checkpoint.checked_.resize(checkpoint.manifest_.shards.size() + 1);
  for (std::size_t i = 0; i < checkpoint.checked_.size(); ++i) {
    const SavedFile& file = file_of(checkpoint.manifest_, i);
    check_present(directory / file.name, file);
  }
  return checkpoint;
}

std::int64_t Checkpoint::size_bytes() const {
  std::int64_t total = 0;
  for (std::size_t i = 0; i < checked_.size(); ++i) total += file_of(manifest_, i).size_bytes;
  return total;
}

void Checkpoint::check_file(std::size_t file) const {
  const SavedFile& saved = file_of(manifest_, file);
  const fs::path path = path_ / saved.name;
  check_present(path, saved);
  require_equal(to_hex(saved.digest), to_hex(file_digest(path)), "a file of the checkpoint is damaged (SHA-256)",
                path.string());
}

void Checkpoint::verify(ThreadPool& pool) {
  std::vector<std::optional<Error>> failures(checked_.size());
  pool.run(static_cast<std::int64_t>(checked_.size()), [&](std::int64_t i) {
    const std::size_t file = static_cast<std::size_t>(i);
    if (checked_[file]) return;
    try {
      check_file(file);
    } catch (const Error& error) {
      failures[file] = error;
    }
  });
  for (const auto& failure : failures) {
    if (failure) throw Error(*failure);
  }
  checked_.assign(checked_.size(), true);
}

void Checkpoint::require_exact(ThreadPool& pool) {
  require_exact_directory(path_, manifest_);
  verify(pool);  // before HDF5 opens a file that may be made to harm it
  require_exact_files(path_, manifest_);
}

void Checkpoint::load(std::span<const StateShard> shards) {
  std::map<std::int64_t, std::vector<ShardRead>> reads;
  for (const StateShard& shard : shards) plan_reads(manifest_, shard, reads);
  // All digests before the first element: a damaged file leaves the state untouched.
  for (const auto& [shard, list] : reads) {
    const std::size_t file = static_cast<std::size_t>(shard) + 1;
    if (!checked_[file]) check_file(file);
    checked_[file] = true;
  }
  for (const auto& [shard, list] : reads) {
    const Hdf5File file = Hdf5File::open_read_only(path_ / manifest_.shards[static_cast<std::size_t>(shard)].name);
    for (const ShardRead& read : list) read_shard_range(file, read);
  }
}

Digest saved_state_root(Checkpoint& checkpoint, ThreadPool& pool) {
  constexpr std::int64_t kRootPieceElements = 64 * kChunkElements;
  std::array<std::vector<float>, 3> arrays;
  std::vector<StateLeaf> leaves;
  for (const LogicalTensor& tensor : checkpoint.tensors()) {
    for (std::int64_t slice = 0; slice < tensor.slices; ++slice) {
      for (std::int64_t begin = 0; begin < tensor.slice_elements(); begin += kRootPieceElements) {
        StateShard piece{.tensor = &tensor,
                         .slice = slice,
                         .begin = begin,
                         .count = std::min(kRootPieceElements, tensor.slice_elements() - begin)};
        for (std::size_t kind = 0; kind < arrays.size(); ++kind) {
          arrays[kind].resize(static_cast<std::size_t>(piece.count));
          piece.values[kind] = arrays[kind].data();
        }
        checkpoint.load(std::span(&piece, 1));
        for (StateLeaf& leaf : state_leaves(std::span(&piece, 1), pool)) leaves.push_back(std::move(leaf));
      }
    }
  }
  return state_root(std::move(leaves));
}

void check_loaded_state(const CheckpointInfo& info, const Digest& root) {
  require_equal(to_hex(info.state_root), to_hex(root), "the loaded state has another root than its checkpoint says",
                fmt::format("step {}", info.step));
}

void check_loaded_state(const CheckpointInfo& info, std::span<const StateShard> shards, ThreadPool& pool) {
  check_loaded_state(info, state_root(shards, pool));
}

}  // namespace baekji
