#pragma once
// Signed notes as files: read as anybody's, and written so that a crash leaves the old one or the new one.

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "core/file_system.h"
#include "core/untrusted_file.h"
#include "proof/signed_note.h"

namespace baekji {

/// The end of the name of a file until it is whole.
inline constexpr std::string_view kUnfinishedNote = ".new";

/// Throws when it is not a note, or too large for one.
SignedNote read_note_file(const std::filesystem::path& path, std::int64_t most_bytes = kMostNoteBytes);
/// Creates the folders on the way, writes under another name, and renames; all of it is on the disk afterwards.
void write_file_whole(const std::filesystem::path& path, std::string_view bytes, FileSystem& files);

}  // namespace baekji
