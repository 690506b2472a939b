#include "proof/note_file.h"

#include "core/error.h"

namespace baekji {

namespace fs = std::filesystem;

SignedNote read_note_file(const fs::path& path, std::int64_t most_bytes) {
  return parse_note(read_untrusted(path, most_bytes), path.string());
}

void write_file_whole(const fs::path& path, std::string_view bytes, FileSystem& files) {
  fs::path existing = path.parent_path();
  while (!existing.empty() && !files.exists(existing)) existing = existing.parent_path();
  if (existing != path.parent_path()) files.create_directories(path.parent_path());
  // The names of new folders must be on the disk too: what is written later may rely on this file.
  for (fs::path at = path.parent_path(); at != existing; at = at.parent_path())
    files.sync(at.has_parent_path() ? at.parent_path() : fs::path("."));
  fs::path unfinished = path;
  unfinished += kUnfinishedNote;
  files.write(unfinished, bytes);
  files.rename(unfinished, path);
}

}  // namespace baekji
