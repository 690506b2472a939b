#include "trainer/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/file_system.h"

namespace baekji {

FolderLock::FolderLock(const std::filesystem::path& folder) {
  posix_file_system().create_directories(folder);
  const std::filesystem::path path = folder / "lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (descriptor_ < 0)
    throw Error("cannot lock the run folder").values("success", std::strerror(errno)).at(path.string());
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(descriptor_);
  throw Error("another process trains in this run folder")
      .values("one at a time", "a second one")
      .at(folder.string())
      .hint("wait for it, stop it, or set run.output to another folder");
}

FolderLock::~FolderLock() {
  ::close(descriptor_);
}

}  // namespace baekji
