#pragma once
// Whether the files of a checkpoint hold exactly what its manifest implies. A foreign data set in a shard, or an index
// that shows other values than the shards hold, would deceive whoever opens the files with other tools.

#include <filesystem>

#include "checkpoint/manifest.h"

namespace baekji {

/// Throws, naming what differs, unless the directory has exactly the files of the manifest, all of them regular, and
/// the name of its step, which is at least 1.
void require_exact_directory(const std::filesystem::path& directory, const Manifest& manifest);

/// Throws unless each shard has exactly the data sets of its ranges, they the attributes and form that
/// docs/formats/checkpoint.md gives them, and the index shows every tensor, each element from its place in the shards,
/// and nothing else. Values are not looked at: the state root is about those. The files' digests should have been
/// checked.
void require_exact_files(const std::filesystem::path& directory, const Manifest& manifest);

}  // namespace baekji
