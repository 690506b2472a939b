#include "core/file_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/untrusted_file.h"

namespace baekji {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string_view action, const fs::path& path, int code) {
  Error error(fmt::format("cannot {} a file", action));
  error.values("success", std::strerror(code)).at(path.string());
  if (code == ENOSPC || code == EDQUOT) error.hint("free some space or set run.output to another disk");
  throw error;
}

// Whoever made a folder may have left a link where our file belongs: what is written would land elsewhere.
[[noreturn]] void fail_link(const fs::path& path) {
  throw Error("a file to be written is a symbolic link")
      .values("a file, or nothing", "a link, which may lead anywhere")
      .at(path.string())
      .hint("remove the link; a folder may be one");
}

class FileDescriptor {
 public:
  FileDescriptor(const fs::path& path, int flags, std::string_view action) : path_(path) {
    do {  // O_NONBLOCK: opening a FIFO does not wait for its other end
      fd_ = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644);
    } while (fd_ < 0 && errno == EINTR);
    if (fd_ < 0 && errno == ELOOP && (flags & O_NOFOLLOW) != 0 && is_link(path)) fail_link(path);
    if (fd_ < 0) fail(action, path, errno);
  }
  ~FileDescriptor() { ::close(fd_); }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return fd_; }

  void write_all(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("write", path_, errno);
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void sync() const {
    if (::fsync(fd_) != 0) fail("sync", path_, errno);
  }

 private:
  static bool is_link(const fs::path& path) {
    std::error_code ignored;
    return fs::is_symlink(fs::symlink_status(path, ignored));
  }

  fs::path path_;
  int fd_ = -1;
};

constexpr int kWriteFlags = O_WRONLY | O_NOFOLLOW;

// A FIFO or socket in a file's place takes bytes that nobody keeps.
void require_storage(const FileDescriptor& file, const fs::path& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail("open", path, errno);
  if (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode)) return;
  throw Error("a file to be written is no file").values("a file, or nothing", "a FIFO or a socket").at(path.string());
}

class PosixAppendFile final : public AppendFile {
 public:
  explicit PosixAppendFile(const fs::path& path) : file_(path, kWriteFlags | O_CREAT | O_APPEND, "open") {
    require_storage(file_, path);
  }
  void append(std::string_view bytes) override { file_.write_all(bytes); }
  void sync() override { file_.sync(); }

 private:
  FileDescriptor file_;
};

class PosixFileSystem final : public FileSystem {
 public:
  std::unique_ptr<AppendFile> open_append(const fs::path& path) override {
    return std::make_unique<PosixAppendFile>(path);
  }

  std::string read(const fs::path& path) override {
    return read_untrusted(path, std::numeric_limits<std::int64_t>::max());
  }

  void write(const fs::path& path, std::string_view bytes) override {
    const FileDescriptor file(path, kWriteFlags | O_CREAT | O_TRUNC, "write");
    require_storage(file, path);
    file.write_all(bytes);
    file.sync();
  }

  void truncate(const fs::path& path, std::int64_t size_bytes) override {
    const FileDescriptor file(path, kWriteFlags, "shorten");
    if (::ftruncate(file.get(), size_bytes) != 0) fail("shorten", path, errno);
    file.sync();
  }

  void rename(const fs::path& from, const fs::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) fail("rename", from, errno);
    sync(to.parent_path());
    if (from.parent_path() != to.parent_path()) sync(from.parent_path());
  }

  void sync(const fs::path& path) override {
    FileDescriptor(path.empty() ? fs::path(".") : path, O_RDONLY, "sync").sync();
  }

  void create_directories(const fs::path& path) override {
    std::error_code code;
    fs::create_directories(path, code);
    if (code) fail("create the directory of", path, code.value());
  }

  void remove_all(const fs::path& path) override {
    std::error_code code;
    fs::remove_all(path, code);
    if (code) fail("remove", path, code.value());
  }

  bool exists(const fs::path& path) override {
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0) return true;
    if (errno != ENOENT && errno != ENOTDIR) fail("look for", path, errno);
    return false;
  }

  std::vector<std::string> list(const fs::path& path) override {
    std::error_code code;
    std::vector<std::string> names;
    for (fs::directory_iterator it(path, code), end; !code && it != end; it.increment(code)) {
      names.push_back(it->path().filename().string());
    }
    if (code) fail("list", path, code.value());
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem instance;
  return instance;
}

}  // namespace baekji
