#include "checkpoint/checkpoint_store.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

#include "checkpoint/file_digest.h"
#include "checkpoint/index_file.h"
#include "checkpoint/shard_file.h"
#include "core/error.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kPartial = ".partial";

// The step of "step-00001000"; nothing for any other name.
std::optional<std::int64_t> step_of_name(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  std::int64_t step = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (code != std::errc{} || end != digits.data() + digits.size() || step < 0 || fmt::format("{:08}", step) != digits)
    return std::nullopt;
  return step;
}

SavedFile describe_file(const fs::path& path, const std::stop_token& stop = {}) {
  return {.name = path.filename().string(),
          .size_bytes = static_cast<std::int64_t>(fs::file_size(path)),
          .digest = file_digest(path, stop)};
}

}  // namespace

CheckpointStore::CheckpointStore(fs::path directory, FileSystem& files)
    : directory_(std::move(directory)), files_(files) {}

fs::path CheckpointStore::path_of(std::int64_t step) const {
  return directory_ / fmt::format("{}{:08}", kPrefix, step);
}

fs::path CheckpointStore::partial_path_of(std::int64_t step) const {
  fs::path path = path_of(step);
  path += kPartial;
  return path;
}

void CheckpointStore::begin(std::int64_t step) {
  if (step < 0) throw Error("a checkpoint belongs to a step").values(">= 0", fmt::format("{}", step));
  const fs::path partial = partial_path_of(step);
  files_.remove_all(partial);
  const bool is_first = !files_.exists(directory_);
  files_.create_directories(partial);
  if (is_first) files_.sync(directory_.parent_path());
}

ShardRecord CheckpointStore::write_shard(std::int64_t step, std::int64_t writer, std::span<const StateShard> shards,
                                         const std::stop_token& stop) {
  const fs::path path = partial_path_of(step) / shard_file_name(writer);
  ShardRecord record = write_shard_file(path, step, writer, shards, stop);
  files_.sync(path);
  record.file = describe_file(path, stop);
  return record;
}

Checkpoint CheckpointStore::commit(const CheckpointInfo& info, std::span<const ShardRecord> records) {
  const fs::path partial = partial_path_of(info.step);
  Manifest manifest = make_manifest(info, records);
  const fs::path index = partial / kIndexFileName;
  write_index_file(index, manifest);
  files_.sync(index);
  manifest.index = describe_file(index);
  files_.write(partial / "manifest.json", encode_manifest(manifest));
  Checkpoint::open(partial);  // every shard must be visible from here with its size, before the name says so
  files_.sync(partial);

  const fs::path target = path_of(info.step);
  fs::path replaced = target;
  replaced += fmt::format(".replaced{}", kPartial);
  if (files_.exists(target)) {
    files_.remove_all(replaced);
    files_.rename(target, replaced);
  }
  files_.rename(partial, target);
  files_.remove_all(replaced);
  return Checkpoint::open(target);
}

Checkpoint CheckpointStore::save(const CheckpointInfo& info, std::span<const StateShard> shards) {
  begin(info.step);
  try {
    const ShardRecord record = write_shard(info.step, 0, shards);
    return commit(info, std::span(&record, 1));
  } catch (...) {
    abandon(info.step);
    throw;
  }
}

void CheckpointStore::abandon(std::int64_t step) noexcept {
  std::error_code ignored;  // the failure before is the one to report
  fs::remove_all(partial_path_of(step), ignored);
}

std::vector<std::int64_t> CheckpointStore::list() const {
  std::vector<std::int64_t> steps;
  if (!files_.exists(directory_)) return steps;
  for (const std::string& name : files_.list(directory_)) {
    if (const auto step = step_of_name(name)) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

CheckpointStore::Newest CheckpointStore::newest_good(ThreadPool& pool, const Refusal& refusal, Extras extras) const {
  Newest newest;
  const std::vector<std::int64_t> steps = list();
  for (auto step = steps.rbegin(); step != steps.rend() && !newest.checkpoint; ++step) {
    try {
      Checkpoint checkpoint = Checkpoint::open(path_of(*step));
      require_equal(*step, checkpoint.info().step, "a checkpoint lies in the directory of another step",
                    checkpoint.path().string());
      const std::string reason = refusal ? refusal(checkpoint.info()) : std::string();
      if (!reason.empty())
        throw Error("a checkpoint cannot be used")
            .values("one that belongs to this run", reason)
            .at(checkpoint.path().string());
      if (extras == Extras::kRefused)
        checkpoint.require_exact(pool);
      else
        checkpoint.verify(pool);
      newest.checkpoint = std::move(checkpoint);
    } catch (const Error& error) {
      newest.problems.emplace_back(error.what());
    }
  }
  return newest;
}

void CheckpointStore::set_aside(std::int64_t step) {
  fs::path aside = path_of(step);
  aside += ".rolled-back";
  files_.remove_all(aside);
  files_.rename(path_of(step), aside);
  files_.sync(directory_);
}

std::vector<std::string> CheckpointStore::remove_leftovers() {
  std::vector<std::string> removed;
  if (!files_.exists(directory_)) return removed;
  for (const std::string& name : files_.list(directory_)) {
    if (!name.starts_with(kPrefix) || !name.ends_with(kPartial)) continue;
    files_.remove_all(directory_ / name);
    removed.push_back(name);
  }
  return removed;
}

std::vector<std::int64_t> CheckpointStore::prune(std::int64_t keep, std::int64_t anchor_every) {
  if (keep < 1 || anchor_every < 0) {
    throw Error("pruning keeps at least one checkpoint")
        .values("keep >= 1, anchor_every >= 0", fmt::format("keep = {}, anchor_every = {}", keep, anchor_every));
  }
  std::vector<std::int64_t> whole;
  for (const std::int64_t step : list()) {
    try {
      Checkpoint::open(path_of(step));
      whole.push_back(step);
    } catch (const Error&) {
      continue;  // damaged: newest_good() names it; not ours to count or to delete
    }
  }
  std::vector<std::int64_t> deleted;
  for (std::size_t i = 0; i + static_cast<std::size_t>(keep) < whole.size(); ++i) {
    const std::int64_t step = whole[i];
    if (anchor_every > 0 && step % anchor_every == 0) continue;
    // Renamed first: a crash half-way leaves a leftover, not a damaged checkpoint.
    const fs::path doomed = partial_path_of(step);
    files_.remove_all(doomed);
    files_.rename(path_of(step), doomed);
    files_.remove_all(doomed);
    deleted.push_back(step);
  }
  return deleted;
}

}  // namespace baekji
