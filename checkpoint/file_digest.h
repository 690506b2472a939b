#pragma once
// The SHA-256 of a file, read as a stream.

#include <filesystem>
#include <stop_token>

#include "core/digest.h"

namespace baekji {

/// Throws Error naming the path when the file cannot be read to its end, or `stop` asks to give up before.
Digest file_digest(const std::filesystem::path& path, const std::stop_token& stop = {});

}  // namespace baekji
