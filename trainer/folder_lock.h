#pragma once
// FolderLock: one trainer per run folder. Two at once would break the ledger's chain.

#include <filesystem>

namespace baekji {

/// Holds an advisory lock on FOLDER/lock while it lives; the system drops it when the process ends, however it ends.
class FolderLock {
 public:
  /// Creates the folder when it is not there. Throws when another process holds the lock.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace baekji
