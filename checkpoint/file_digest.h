#pragma once
// The SHA-256 of a file, read as a stream.

#include <filesystem>

#include "core/digest.h"

namespace baekji {

/// Throws Error naming the path when the file cannot be read to its end.
Digest file_digest(const std::filesystem::path& path);

}  // namespace baekji
