#pragma once
// The machine's file system, with a hook before whatever a save does to the disk.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/file_system.h"

namespace baekji {

class HookedFiles final : public FileSystem {
 public:
  /// Called from any thread with "sync", "write", "rename" or "remove" and the path; it may wait or throw.
  using Hook = std::function<void(std::string_view verb, const std::filesystem::path& path)>;
  explicit HookedFiles(Hook hook) : hook_(std::move(hook)) {}

  std::unique_ptr<AppendFile> open_append(const std::filesystem::path& path) override {
    return real().open_append(path);
  }
  std::string read(const std::filesystem::path& path) override { return real().read(path); }
  void write(const std::filesystem::path& path, std::string_view bytes) override {
    hook_("write", path);
    real().write(path, bytes);
  }
  void truncate(const std::filesystem::path& path, std::int64_t size) override { real().truncate(path, size); }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    hook_("rename", from);
    real().rename(from, to);
  }
  void sync(const std::filesystem::path& path) override {
    hook_("sync", path);
    real().sync(path);
  }
  void create_directories(const std::filesystem::path& path) override { real().create_directories(path); }
  void remove_all(const std::filesystem::path& path) override {
    hook_("remove", path);
    real().remove_all(path);
  }
  bool exists(const std::filesystem::path& path) override { return real().exists(path); }
  std::vector<std::string> list(const std::filesystem::path& path) override { return real().list(path); }

 private:
  static FileSystem& real() { return posix_file_system(); }
  Hook hook_;
};

}  // namespace baekji
